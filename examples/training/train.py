#!/usr/bin/env python3
"""A small training run that reports how it goes: duration, loss, accuracy, cache hits.

    pip install prometheus-client
    python3 train.py --gateway localhost:9780

While it runs it adds to its group (`pushadd_to_gateway`); at the end it replaces the group by what counts then
(`push_to_gateway`). With --forget it takes the group away again (`delete_from_gateway`).
"""

import argparse
import math
import random
import time
from functools import lru_cache

from prometheus_client import (
    CollectorRegistry, Counter, Gauge, Histogram, delete_from_gateway, push_to_gateway, pushadd_to_gateway,
)

JOB = "train"


class Report:
    """What the run says about itself."""

    def __init__(self):
        self.registry = CollectorRegistry()
        of = {"registry": self.registry}
        self.epochs = Counter("train_epochs", "Epochs that are done", **of)
        self.loss = Gauge("train_loss", "Mean squared error after the last epoch", **of)
        self.accuracy = Gauge("train_accuracy_ratio", "Points classified right after the last epoch", **of)
        self.epoch_seconds = Histogram(
            "train_epoch_duration_seconds", "Duration of an epoch", buckets=(0.01, 0.1, 1, 10), **of
        )
        self.cache = Counter("train_cache_requests", "Samples asked of the cache", ["result"], **of)
        self.duration = Gauge("train_duration_seconds", "Duration of the whole run", **of)
        self.success = Gauge("train_last_success_timestamp_seconds", "When a run last came to its end", **of)


@lru_cache(maxsize=512)
def sample(seed):
    """A point and its class; what loading from disk would be."""
    x, y = random.Random(seed).uniform(-1, 1), random.Random(-seed - 1).uniform(-1, 1)
    return x, y, 1.0 if x + 2 * y > 0.2 else 0.0


def epoch(weights, rate, points):
    """One pass of logistic regression; returns loss and accuracy."""
    squares, right = 0.0, 0
    for seed in random.sample(range(points), points):
        x, y, wanted = sample(seed)
        guess = 1 / (1 + math.exp(-(weights[0] * x + weights[1] * y + weights[2])))
        error = guess - wanted
        squares += error * error
        right += (guess > 0.5) == (wanted > 0.5)
        for i, part in enumerate((x, y, 1.0)):
            weights[i] -= rate * error * part
    return squares / points, right / points


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--gateway", default="localhost:9780")
    options.add_argument("--model", default="demo", help="part of the grouping key: each model has its group")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--points", type=int, default=500)
    options.add_argument("--forget", action="store_true", help="take the metrics away at the end")
    arguments = options.parse_args()

    key = {"model": arguments.model}
    report, weights, began = Report(), [0.0, 0.0, 0.0], time.monotonic()
    hits = misses = 0
    for _ in range(arguments.epochs):
        with report.epoch_seconds.time():
            loss, accuracy = epoch(weights, 0.1, arguments.points)
        now = sample.cache_info()
        report.cache.labels("hit").inc(now.hits - hits)
        report.cache.labels("miss").inc(now.misses - misses)
        hits, misses = now.hits, now.misses
        report.epochs.inc()
        report.loss.set(loss)
        report.accuracy.set(accuracy)
        pushadd_to_gateway(arguments.gateway, JOB, report.registry, grouping_key=key)
    report.duration.set(time.monotonic() - began)
    report.success.set_to_current_time()
    push_to_gateway(arguments.gateway, JOB, report.registry, grouping_key=key)
    print(f"loss {loss:.4f}, accuracy {accuracy:.3f}")
    if arguments.forget:
        delete_from_gateway(arguments.gateway, JOB, grouping_key=key)


if __name__ == "__main__":
    main()
