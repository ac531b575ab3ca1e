#!/usr/bin/env python3
"""vs_gloo.py RANK FILE SECONDS: one of two processes that all-reduce ResNet-50's gradients by gloo.

FILE: where the two meet; it must not be there before.  Rank 0 prints one line of JSON:
the tensors and floats that there are, and for each way of cutting them and number of gloo's
threads the median of the steps' times in ms, of the slower process.

  buckets  as DistributedDataParallel does: whole tensors in reverse order, buckets closed when they
           have 25 MiB (the first: 1 MiB), flat before anything is timed, all of them under way at once
  tensors  the 161 tensors, each by itself, all of them under way at once
  flat     one vector

The reduction alone is timed: no copy into buckets, no division, no optimizer.
"""
import datetime
import json
import os
import statistics
import sys
import time

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
import torch
import torch.distributed as dist

THREADS = (1, 2, 4)
MIB_FLOATS = (1 << 20) // 4


def resnet50():
    """Sizes of the tensors, as published (He et al. 2016, table 1), first layer first."""
    sizes = []

    def convolution(filters, channels, side):
        sizes.extend([filters * channels * side * side, filters, filters])

    convolution(64, 3, 7)
    channels = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for _ in range(depth):
            convolution(width, channels, 1)
            convolution(width, width, 3)
            convolution(4 * width, width, 1)
            if channels != 4 * width:
                convolution(4 * width, channels, 1)
            channels = 4 * width
    sizes.extend([1000 * channels, 1000])
    return sizes


def buckets_of(sizes):
    buckets, limit = [0], MIB_FLOATS
    for size in reversed(sizes):
        if buckets[-1] >= limit:
            buckets.append(0)
            limit = 25 * MIB_FLOATS
        buckets[-1] += size
    return buckets


def reduce_all(group, parts):
    for work in [group.allreduce([part]) for part in parts]:
        work.wait()


def median_ms(group, parts, seconds):
    """Of steps for so long; both processes make the same number of them."""
    for _ in range(3):
        reduce_all(group, parts)
    times, end, go_on = [], time.perf_counter() + seconds, torch.ones(1)
    while go_on.item() > 0:
        for part in parts:  # else the sums grow past all bounds
            part.fill_(1.0)
        group.barrier().wait()
        began = time.perf_counter()
        reduce_all(group, parts)
        times.append((time.perf_counter() - began) * 1000)
        go_on.fill_(time.perf_counter() < end)
        group.allreduce([go_on], dist.ReduceOp.MIN).wait()
    if any(part[0].item() != 2.0 or part[-1].item() != 2.0 for part in parts):
        sys.exit("vs_gloo.py: a sum is wrong")
    worst = torch.tensor([statistics.median(times)])
    group.allreduce([worst], dist.ReduceOp.MAX).wait()
    return worst.item()


def main():
    rank, path, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    torch.set_num_threads(1)
    sizes = resnet50()
    if len(sizes) != 161 or sum(sizes) != 25557032:
        sys.exit("vs_gloo.py: these are not ResNet-50's tensors")
    cuts = {"buckets": buckets_of(sizes), "tensors": sizes, "flat": [sum(sizes)]}
    result = {"count": len(sizes), "floats": sum(sizes), "buckets": len(cuts["buckets"]), "ms": {}}
    store = dist.FileStore(path, 2)
    for threads in THREADS:
        options = dist.ProcessGroupGloo._Options()
        options._devices = [dist.ProcessGroupGloo.create_device(interface="lo")]
        options._threads = threads
        options._timeout = datetime.timedelta(seconds=60)
        group = dist.ProcessGroupGloo(dist.PrefixStore(str(threads), store), rank, 2, options)
        for name, cut in cuts.items():
            parts = [torch.zeros(size) for size in cut]
            result["ms"].setdefault(name, {})[threads] = round(median_ms(group, parts, seconds), 2)
    if rank == 0:
        print(json.dumps(result))


main()
