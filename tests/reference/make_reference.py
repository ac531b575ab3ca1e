#!/usr/bin/env python3
"""Makes the loss curves that tests/parity/test_reference.c compares with.

An independent implementation: PyTorch's convolutions, pools, losses and autograd in float64, and the
momentum update written out (v = mu v + g; w -= lr v, g the mean over the batch).  Weights, inputs
and labels are closed formulas that the test writes down again, so nothing but the losses is stored.

    /usr/bin/python3 tests/reference/make_reference.py      (Debian: python3-torch)
"""
import os
import torch
import torch.nn.functional as F

STEPS, BATCH, SETS = 50, 8, 4
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def wave(count, scale, phase):
    """scale sin(0.37 k^2 + phase), k = 1..count: looks random, and is not."""
    k = torch.arange(1, count + 1, dtype=torch.float64)
    return scale * torch.sin(0.37 * k * k + phase)


def make_weights(shapes):
    """Tensor t: deviation sqrt(1 / fan_in) for a weight, 0.1 for a bias; a sine's is sqrt(1/2)."""
    weights = []
    for t, shape in enumerate(shapes):
        count, fan_in = 1, 1
        for size in shape:
            count *= size
        for size in shape[:-1]:
            fan_in *= size
        scale = (2.0 / fan_in) ** 0.5 if len(shape) > 1 else 0.1
        weights.append(wave(count, scale, t).reshape(shape).requires_grad_())
    return weights


def conv(x, weight, bias, padding):
    """x: NCHW.  weight: [rows][cols][in][out], as Talweg has it."""
    return F.conv2d(x, weight.permute(3, 2, 0, 1), bias, padding=padding)


def conv_loss(w, step):
    inputs = wave(BATCH * 12 * 12 * 2, 1.0, step % SETS).reshape(BATCH, 12, 12, 2)
    labels = torch.tensor([(i * 7 + step % SETS) % 5 for i in range(BATCH)])
    x = inputs.permute(0, 3, 1, 2)
    x = F.max_pool2d(F.relu(conv(x, w[0], w[1], 2)), 2)
    x = F.avg_pool2d(torch.tanh(conv(x, w[2], w[3], 0)), 2)
    x = x.permute(0, 2, 3, 1).reshape(BATCH, -1)  # Talweg flattens rows, columns, channels
    x = F.relu(x @ w[4] + w[5])
    return F.cross_entropy(x @ w[6] + w[7], labels)


def dense_loss(w, step):
    x = wave(BATCH * 20, 1.0, step % SETS).reshape(BATCH, 20)
    labels = wave(BATCH * 3, 1.0, 10 + step % SETS).reshape(BATCH, 3)
    x = torch.tanh(x @ w[0] + w[1])
    x = torch.sigmoid(x @ w[2] + w[3])
    return F.mse_loss(x @ w[4] + w[5], labels)


def train(name, shapes, loss_of, rate, momentum):
    weights = make_weights(shapes)
    speeds = [torch.zeros_like(w) for w in weights]
    losses = []
    for step in range(STEPS):
        loss = loss_of(weights, step)
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for w, v, g in zip(weights, speeds, gradients):
                v.mul_(momentum).add_(g)
                w.sub_(rate * v)
        losses.append(loss.item())
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".txt")
    with open(path, "w", encoding="ascii") as out:
        out.write("# Loss before each of %d steps of SGD with momentum, mean over %d samples.\n"
                  % (STEPS, BATCH))
        out.write("# Made by tests/reference/make_reference.py: PyTorch %s, float64.\n"
                  % torch.__version__)
        for loss in losses:
            out.write("%.12g\n" % loss)
    print(name, losses[0], losses[-1])


train("conv", [[5, 5, 2, 8], [8], [3, 3, 8, 12], [12], [48, 16], [16], [16, 5], [5]],
      conv_loss, 0.02, 0.9)
train("dense", [[20, 32], [32], [32, 16], [16], [16, 3], [3]], dense_loss, 0.1, 0.9)
