#!/usr/bin/python3
"""The third client of compare.sh: aio-pika, one run and one line of JSON, as warren_bench.

aio_pika_client.py SCENARIO [--url U] [--messages N] [--size B] [--window W]
"""
import argparse
import asyncio
import json
import os
import resource
import time

import aio_pika

QUEUE_EXPIRES = 600_000  # milliseconds; a queue of a run that was killed does not stay


class Meter:
    def __init__(self):
        self.latencies = []

    def start(self):
        self.cpu = self.cpu_time()
        self.began = time.perf_counter()

    def stop(self):
        self.seconds = time.perf_counter() - self.began
        self.cpu = self.cpu_time() - self.cpu

    @staticmethod
    def cpu_time():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def percentile(self, percent):
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] * 1e6


def message_of(run):
    persistent = run.scenario == "publish-confirmed"
    mode = aio_pika.DeliveryMode.PERSISTENT if persistent else aio_pika.DeliveryMode.NOT_PERSISTENT
    return aio_pika.Message(b"x" * run.size, delivery_mode=mode)


async def publish_window(channel, run, count):
    """Up to `window` publishes at once; with confirms each waits for its own."""
    message = message_of(run)
    left = count

    async def publish():
        nonlocal left
        while left > 0:
            left -= 1
            await channel.default_exchange.publish(message, run.queue)

    await asyncio.gather(*(publish() for _ in range(min(run.window, count))))


async def publish(run, meter, confirms):
    async with await aio_pika.connect(run.url) as connection:
        channel = await connection.channel(publisher_confirms=confirms)
        await publish_window(channel, run, run.warm_up)
        meter.start()
        await publish_window(channel, run, run.messages)
        await channel.declare_queue(run.queue, passive=True)  # answered once all before it has arrived
        meter.stop()


async def consume(run, meter):
    async with await aio_pika.connect(run.url) as connection:
        await publish_window(await connection.channel(), run, run.warm_up + run.messages)
    async with await aio_pika.connect(run.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=run.window)
        queue = await channel.declare_queue(run.queue, passive=True)
        handled = 0
        done = asyncio.Event()

        async def handle(message):
            nonlocal handled
            await message.ack()
            handled += 1
            if handled == run.warm_up:
                meter.start()
            if handled == run.warm_up + run.messages:
                meter.stop()
                done.set()

        await queue.consume(handle)
        await done.wait()


async def round_trip(run, meter):
    async with await aio_pika.connect(run.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=run.window)
        queue = await channel.declare_queue(run.queue, passive=True)
        message = message_of(run)
        last = run.warm_up + run.messages
        received = 0
        sent = 0.0
        done = asyncio.Event()

        async def send():
            nonlocal sent
            sent = time.perf_counter()
            await channel.default_exchange.publish(message, run.queue)

        async def handle(incoming):
            nonlocal received
            latency = time.perf_counter() - sent
            received += 1
            if received == run.warm_up:
                meter.start()
            if received > run.warm_up:
                meter.latencies.append(latency)
            if received < last:
                await send()
            else:
                meter.stop()
                done.set()
            await incoming.ack()

        await queue.consume(handle)
        await send()
        await done.wait()


SCENARIOS = {
    "publish-confirmed": lambda run, meter: publish(run, meter, True),
    "publish-unconfirmed": lambda run, meter: publish(run, meter, False),
    "consume": consume,
    "round-trip": round_trip,
}


async def measure(run, meter):
    async with await aio_pika.connect(run.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(run.queue, durable=True, arguments={"x-expires": QUEUE_EXPIRES})
        try:
            await SCENARIOS[run.scenario](run, meter)
        finally:
            await queue.delete(if_unused=False, if_empty=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--url", default=os.environ.get("AMQP_URL", "amqp://guest:guest@localhost/"))
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--window", type=int, default=256)
    run = parser.parse_args()
    run.queue = f"warren-bench-{os.getpid()}"
    run.warm_up = max(1, min(run.messages // 10, max(4 * run.window, 1000)))
    meter = Meter()
    asyncio.run(measure(run, meter))
    print(json.dumps({
        "scenario": run.scenario,
        "client": "aio-pika",
        "broker": "real",
        "messages": run.messages,
        "size": run.size,
        "window": run.window,
        "threads": 1,
        "seconds": meter.seconds,
        "rate": run.messages / meter.seconds,
        "cpu_us_per_message": meter.cpu * 1e6 / run.messages,
        "max_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "p50_us": meter.percentile(50),
        "p99_us": meter.percentile(99),
        "allocations_per_message": None,
    }))


if __name__ == "__main__":
    main()
