#!/usr/bin/env python3
"""vs_pytorch.py NETWORK THREADS STEPS: a training step of a network of step/*.cfg in PyTorch.

Forward, loss, backward and SGD with momentum on batches of random samples that are in memory, in
turn as `talweg bench step` takes them.  Prints one line of JSON: the median and least time of a
step in ms, its processor time, the most resident memory, the moments of the first step's beginning
and end, in ms since 1970, and the losses.

What makes PyTorch faster is done here: images in channels-last order (they are converted before
anything is timed), gradients set to None instead of zero.  The allocator's settings, the build of
OpenBLAS and its kernels are the environment's (vs_pytorch.sh).
"""
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCHES, WARM = 4, 2
torch.manual_seed(1)


class Block(nn.Module):
    """Two convolutions and the way around them (He et al. 2016, figure 2)."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.short = nn.Identity()
        if stride != 1 or channels != filters:
            self.short = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False),
                                       nn.BatchNorm2d(filters))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.short(x), inplace=True)


def resnet18():
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512)):
        layers += [Block(channels, filters, 2 if stage > 0 else 1), Block(filters, filters, 1)]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class CharLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(65, 64)
        self.lstm = nn.LSTM(64, 256, batch_first=True)
        self.head = nn.Linear(256, 65)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


class Layer(nn.Module):
    """GPT-2's: norms before attention and before the dense layers (Radford et al. 2019)."""

    def __init__(self, width, heads, length):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.register_buffer("mask", torch.full((length, length), -math.inf).triu(1))

    def attend(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2)
                   for part in self.qkv(x).split(width, 2))
        scores = q @ (k / math.sqrt(width // self.heads)).transpose(2, 3) + self.mask
        return self.out((scores.softmax(3) @ v).transpose(1, 2).reshape(batch, length, width))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(65, 256)
        self.positions = nn.Parameter(torch.randn(128, 256) * 0.02)
        self.layers = nn.Sequential(*(Layer(256, 4, 128) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 65)

    def forward(self, tokens):
        return self.head(self.norm(self.layers(self.tokens(tokens) + self.positions)))


def mlp():
    return nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
                         nn.Linear(1024, 10))


def lenet():
    return nn.Sequential(nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                         nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))


# Network, samples of a step, shape of an image or row (None: tokens), tokens of a sample, rate.
NETWORKS = {"mlp128": (mlp, 128, (784,), 0, 0.01), "mlp1024": (mlp, 1024, (784,), 0, 0.01),
            "lenet": (lenet, 64, (1, 28, 28), 0, 0.01),
            "resnet18": (resnet18, 32, (3, 32, 32), 0, 0.01),
            "lstm": (CharLstm, 32, None, 64, 0.1), "gpt": (Gpt, 8, None, 128, 0.01)}


def batches_of(count, shape, length):
    if shape is None:
        return [(torch.randint(65, (count, length)), torch.randint(65, (count * length,)))
                for _ in range(BATCHES)]
    inputs = [torch.randn(count, *shape) for _ in range(BATCHES)]
    if len(shape) == 3:
        inputs = [batch.to(memory_format=torch.channels_last) for batch in inputs]
    return [(batch, torch.randint(10, (count,))) for batch in inputs]


def peak_rss_bytes():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main():
    name, threads, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    make, count, shape, length, rate = NETWORKS[name]
    torch.set_num_threads(threads)
    network, batches = make(), batches_of(count, shape, length)
    if shape is not None and len(shape) == 3:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    times, losses, moments, cpu_s = [], [], [time.time()], 0
    for step in range(1 + WARM + steps):
        cpu_s = time.process_time() if step == 1 + WARM else cpu_s
        inputs, labels = batches[step % BATCHES]
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        outputs = network(inputs)
        loss = F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), labels)
        loss.backward()
        optimizer.step()
        times.append((time.perf_counter() - began) * 1000)
        losses.append(loss.item())
        moments.append(time.time())
    timed, cpu_ms = times[1 + WARM:], (time.process_time() - cpu_s) * 1000 / steps
    print(json.dumps({"ms": statistics.median(timed), "min_ms": min(timed), "cpu_ms": cpu_ms,
                      "weights": sum(p.numel() for p in network.parameters()),
                      "peak_rss_bytes": peak_rss_bytes(), "ready_at_ms": round(moments[0] * 1000),
                      "first_step_at_ms": round(moments[1] * 1000),
                      "first_loss": losses[0], "last_loss": losses[-1]}))


main()
