#!/usr/bin/env python3
"""Makes the losses and gradients that tests/parity/test_reference_gradients.c compares with.

An independent implementation: PyTorch's operators and autograd in float64, and the momentum update
written out (v = mu v + g; w -= rate v, g the mean over the batch).  Initial weights, inputs and
labels are closed formulas that the test writes down again.  For each network one file
NAME.safetensors:

    loss       [10]           before each step, the mean over the batch
    <tensor>   [10][shape]    its gradient in each step, named and laid out as Talweg has it
    <running>  [1][shape]     a running mean or variance: after the last step

    /usr/bin/python3 tests/reference/make_gradients.py [NAME...]      (Debian: python3-torch)
"""
import json
import math
import os
import struct
import sys
import torch
import torch.nn.functional as F

STEPS, BATCH, SETS, MOMENTUM = 10, 8, 4, 0.9
CLASSES, TOKENS, LENGTH = 5, 11, 9
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def wave(count, scale, phase):
    """scale sin(0.37 k^2 + phase), k = 1..count: looks random, and is not."""
    k = torch.arange(1, count + 1, dtype=torch.float64)
    return scale * torch.sin(0.37 * k * k + phase)


def initial(name, shape, idx):
    """A norm's weight is about 1, running ones are 0 and 1, the rest has a deviation that keeps
    sums of inputs as large as the inputs."""
    if name.endswith(("running_mean", "running_var")):
        return torch.full(shape, 1.0 if name.endswith("var") else 0.0)
    scale = math.sqrt(2.0 / math.prod(shape[:-1])) if len(shape) > 1 else 0.1
    weight = wave(math.prod(shape), scale, idx).reshape(shape)
    return weight + 1 if "norm" in name and name.endswith(".weight") else weight


def images(step):
    return (wave(BATCH * 8 * 8 * 2, 1.0, step % SETS).reshape(BATCH, 8, 8, 2).permute(0, 3, 1, 2),
            torch.tensor([(i * 7 + step % SETS) % CLASSES for i in range(BATCH)]))


def texts(step):
    i = torch.arange(BATCH * LENGTH)
    tokens = (3 * i * i + 5 * i + 7 * (step % SETS)) % TOKENS
    labels = (5 * i * i + 3 * i + step % SETS) % TOKENS
    return tokens.reshape(BATCH, LENGTH), labels


class Network:
    """Its tensors by name, in Talweg's order; each operator asks for those of its own."""

    def __init__(self, tensors):
        self.all = {name: initial(name, shape, idx)
                    for idx, (name, shape) in enumerate(tensors.items())}
        self.learned = {name: tensor.requires_grad_() for name, tensor in self.all.items()
                        if ".running" not in name}

    def __getitem__(self, name):
        return self.all[name]

    def conv(self, x, idx, stride=1):
        weight = self[f"conv2d_{idx}.weight"].permute(3, 2, 0, 1)
        return F.conv2d(x, weight, self.all.get(f"conv2d_{idx}.bias"), stride, weight.shape[2] // 2)

    def batch_norm(self, x, idx):
        parts = (self[f"batch_norm_{idx}.{part}"]
                 for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=True, momentum=0.1, eps=1e-5)

    def layer_norm(self, x, idx):
        weight = self[f"layer_norm_{idx}.weight"]
        return F.layer_norm(x, weight.shape, weight, self[f"layer_norm_{idx}.bias"], 1e-5)

    def dense(self, x, idx):
        return x @ self[f"dense_{idx}.weight"] + self[f"dense_{idx}.bias"]

    def recurrent(self, x, module, name, biases):
        """PyTorch's own cell; its weights are the transposes."""
        weights = [self[f"{name}.weight_ih"].t(), self[f"{name}.weight_hh"].t(), *biases]
        zero = torch.zeros(1, BATCH, self[f"{name}.weight_hh"].shape[0])
        state = (zero, zero) if module is torch.lstm else zero
        return module(x, state, weights, True, 1, 0.0, True, False, True)[0]


def norm_tensors(name, width, is_batch):
    parts = ("weight", "bias", "running_mean", "running_var") if is_batch else ("weight", "bias")
    return {f"{name}.{part}": (width,) for part in parts}


def dense_tensors(idx, inputs, units):
    return {f"dense_{idx}.weight": (inputs, units), f"dense_{idx}.bias": (units,)}


def conv_network():
    tensors = {"conv2d_0.weight": (5, 5, 2, 6), "conv2d_0.bias": (6,),
               "conv2d_3.weight": (3, 3, 6, 8), "conv2d_3.bias": (8,),
               **dense_tensors(7, 32, 12), **dense_tensors(9, 12, CLASSES)}

    def loss(net, step):
        x, labels = images(step)
        x = F.max_pool2d(F.relu(net.conv(x, 0)), 2)
        x = F.avg_pool2d(torch.tanh(net.conv(x, 3)), 2)
        x = F.relu(net.dense(x.permute(0, 2, 3, 1).reshape(BATCH, -1), 7))
        return F.cross_entropy(net.dense(x, 9), labels)

    return Network(tensors), loss, 0.02


def cnn_network():
    tensors = {"conv2d_0.weight": (3, 3, 2, 8), **norm_tensors("batch_norm_1", 8, True),
               "conv2d_4.weight": (3, 3, 8, 8), **norm_tensors("batch_norm_5", 8, True),
               **dense_tensors(8, 8, CLASSES)}

    def loss(net, step):
        x, labels = images(step)
        x = F.max_pool2d(F.relu(net.batch_norm(net.conv(x, 0), 1)), 2)
        x = F.relu(net.batch_norm(net.conv(x, 4), 5))
        return F.cross_entropy(net.dense(x.mean((2, 3)), 8), labels)

    return Network(tensors), loss, 0.05


def resnet_network():
    tensors = {}
    for idx, kernel, channels in ((0, 3, 2), (3, 3, 8), (6, 3, 8), (10, 3, 8), (13, 3, 8),
                                  (15, 1, 8)):
        tensors[f"conv2d_{idx}.weight"] = (kernel, kernel, channels, 8)
        tensors.update(norm_tensors(f"batch_norm_{idx + 1}", 8, True))
    tensors.update(dense_tensors(20, 8, CLASSES))

    def loss(net, step):
        x, labels = images(step)

        def convolve(value, idx, stride=1):
            return net.batch_norm(net.conv(value, idx, stride), idx + 1)

        x = F.relu(convolve(x, 0))
        x = F.relu(convolve(F.relu(convolve(x, 3)), 6) + x)
        x = F.relu(convolve(F.relu(convolve(x, 10, 2)), 13) + convolve(x, 15, 2))
        return F.cross_entropy(net.dense(x.mean((2, 3)), 20), labels)

    return Network(tensors), loss, 0.05


def lstm_network():
    tensors = {"embedding_0.weight": (TOKENS, 6), "lstm_1.weight_ih": (6, 48),
               "lstm_1.weight_hh": (12, 48), "lstm_1.bias": (48,), **dense_tensors(2, 12, TOKENS)}

    def loss(net, step):
        tokens, labels = texts(step)
        biases = (net["lstm_1.bias"], torch.zeros(48))
        x = net.recurrent(net["embedding_0.weight"][tokens], torch.lstm, "lstm_1", biases)
        return F.cross_entropy(net.dense(x, 2).reshape(-1, TOKENS), labels)

    return Network(tensors), loss, 0.1


def gru_network():
    tensors = {"embedding_0.weight": (TOKENS, 6), "gru_1.weight_ih": (6, 36),
               "gru_1.weight_hh": (12, 36), "gru_1.bias_ih": (36,), "gru_1.bias_hh": (36,),
               **dense_tensors(2, 12, TOKENS)}

    def loss(net, step):
        tokens, labels = texts(step)
        biases = (net["gru_1.bias_ih"], net["gru_1.bias_hh"])
        x = net.recurrent(net["embedding_0.weight"][tokens], torch.gru, "gru_1", biases)
        return F.cross_entropy(net.dense(x, 2).reshape(-1, TOKENS), labels)

    return Network(tensors), loss, 0.1


def gpt_network():
    """One layer; the last dense has the embedding's weight, turned."""
    tensors = {"embedding_0.weight": (TOKENS, 16), "positional_embedding_1.weight": (LENGTH, 16),
               **norm_tensors("layer_norm_2", 16, False), **dense_tensors(3, 16, 48),
               **dense_tensors(5, 16, 16), **norm_tensors("layer_norm_7", 16, False),
               **dense_tensors(8, 16, 64), **dense_tensors(10, 64, 16),
               **norm_tensors("layer_norm_12", 16, False), "dense_13.bias": (TOKENS,)}
    hidden = torch.full((LENGTH, LENGTH), -math.inf).triu(1)

    def attend(qkv, heads=2):
        q, k, v = (part.reshape(BATCH, LENGTH, heads, -1).transpose(1, 2)
                   for part in qkv.split(16, 2))
        shares = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3]) + hidden).softmax(3)
        return (shares @ v).transpose(1, 2).reshape(BATCH, LENGTH, 16)

    def loss(net, step):
        tokens, labels = texts(step)
        x = net["embedding_0.weight"][tokens] + net["positional_embedding_1.weight"]
        x = x + net.dense(attend(net.dense(net.layer_norm(x, 2), 3)), 5)
        x = x + net.dense(F.gelu(net.dense(net.layer_norm(x, 7), 8)), 10)
        x = net.layer_norm(x, 12) @ net["embedding_0.weight"].t() + net["dense_13.bias"]
        return F.cross_entropy(x.reshape(-1, TOKENS), labels)

    return Network(tensors), loss, 0.05


def train(net, loss_of, rate):
    speeds = {name: torch.zeros_like(weight) for name, weight in net.learned.items()}
    losses, gradients = [], {name: [] for name in net.learned}
    for step in range(STEPS):
        loss = loss_of(net, step)
        found = torch.autograd.grad(loss, list(net.learned.values()))
        losses.append(loss.item())
        with torch.no_grad():
            for (name, weight), gradient in zip(net.learned.items(), found):
                gradients[name].append(gradient)
                speeds[name].mul_(MOMENTUM).add_(gradient)
                weight.sub_(rate * speeds[name])
    running = {name: [tensor] for name, tensor in net.all.items() if name not in net.learned}
    return {"loss": torch.tensor(losses),
            **{name: torch.stack(parts) for name, parts in {**gradients, **running}.items()}}


def save(path, tensors):
    header, data = {"__metadata__": {"made_by": "tests/reference/make_gradients.py",
                                     "torch": torch.__version__}}, b""
    for name, tensor in tensors.items():
        part = tensor.detach().to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


NETWORKS = {"conv": conv_network, "cnn": cnn_network, "resnet": resnet_network,
            "lstm": lstm_network, "gru": gru_network, "gpt": gpt_network}
for wanted in sys.argv[1:] or NETWORKS:
    result = train(*NETWORKS[wanted]())
    save(os.path.join(os.path.dirname(os.path.abspath(__file__)), wanted + ".safetensors"), result)
    print(wanted, result["loss"][0].item(), result["loss"][-1].item())
