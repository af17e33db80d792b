"""Queues shared with a Python worker, which declares them durable and without arguments, as one would there."""

import asyncio
import datetime
import json

import aio_pika

from support import BrokerTest, eventually, main

IDLE = ("--exit-when-idle", "0.5")


class Interop(BrokerTest):
    def setUp(self):
        """Whoever comes first declares."""
        async def work(channel):
            for name in ("orders", "orders_retry", "orders_parked", "task_queue"):
                await channel.queue_delete(name)
        self.client(work)

    async def consume(self, channel, queue, number):
        await channel.set_qos(prefetch_count=10)
        declared = await channel.declare_queue(queue, durable=True)
        received = []
        async with declared.iterator() as messages:
            async for message in messages:
                async with message.process():
                    received.append(message)
                if len(received) == number:
                    return received

    async def publish(self, channel, queue, bodies):
        await channel.declare_queue(queue, durable=True)
        for body in bodies:
            await channel.default_exchange.publish(
                aio_pika.Message(json.dumps(body).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT), queue)

    def test_a_python_worker_consumes_our_orders(self):
        self.run_to_end("orders_producer", "7", "seven")
        received = self.client(lambda channel: self.consume(channel, "orders", 2))
        orders = [json.loads(message.body) for message in received]
        self.assertEqual([order["order_id"] for order in orders], [7, "seven"])
        for order in orders:
            datetime.datetime.fromisoformat(order["timestamp"])
        self.assertEqual(self.count("orders"), 0)

    def test_a_python_worker_tries_our_failures_again(self):
        self.run_to_end("orders_producer", "7")
        self.run_to_end("orders_consumer", "--failure-rate", "1", *IDLE)
        message, = self.client(lambda channel: self.consume(channel, "orders_retry", 1))
        self.assertEqual(json.loads(message.body)["order_id"], 7)
        self.assertEqual(message.headers["retry-reason"], "exception")

    def test_our_consumer_processes_python_orders(self):
        orders = [{"order_id": 7, "timestamp": "2024-05-01T10:00:00"}, {"order_id": "seven", "timestamp": 1714557600}]
        self.client(lambda channel: self.publish(channel, "orders", orders))
        lines = self.run_to_end("orders_consumer", "--failure-rate", "0", *IDLE)
        self.assertEqual(lines, ["Processing order 7 at 2024-05-01T10:00:00", "Processed order 7",
                                 "Processing order seven at 1714557600", "Processed order seven"])

    def test_our_retry_consumer_processes_python_failures(self):
        self.client(lambda channel: self.publish(channel, "orders_retry", [{"order_id": 7}]))
        lines = self.run_to_end("orders_retry_consumer", "--failure-rate", "0", *IDLE)
        self.assertEqual(lines[-1], "Processed order 7")

    def test_both_work_on_one_queue(self):
        """The orders of one queue are shared out; each is processed once."""
        ours = self.start("orders_consumer", "--failure-rate", "0", "--prefetch", "1")
        async def work(channel):
            await channel.set_qos(prefetch_count=1)
            orders = await channel.declare_queue("orders", durable=True)
            theirs = []
            async def on_message(message):
                async with message.process():
                    theirs.append(str(json.loads(message.body)["order_id"]))
            tag = await orders.consume(on_message)
            await self.publish(channel, "orders", [{"order_id": id} for id in range(500)])
            while len(theirs) + len(ours.ids("Processed order")) < 500:
                await asyncio.sleep(0.02)
            await orders.cancel(tag)
            return theirs
        theirs = self.client(work)
        ours.stop()
        self.assertEqual(ours.wait(), 0, ours)
        self.assertEqual(sorted(theirs + ours.ids("Processed order"), key=int), [str(id) for id in range(500)])
        self.assertTrue(theirs and ours.lines)

    def test_our_task_worker_prints_python_tasks(self):
        worker = self.start("task_worker")
        eventually(worker.handles_signals, "the program runs")
        self.client(lambda channel: self.publish(channel, "task_queue", [{"item_id": 7, "action": "process"}]))
        eventually(lambda: worker.lines, "the task is received")
        self.assertEqual(worker.lines, ['Received message: {"item_id": 7, "action": "process"}'])


if __name__ == "__main__":
    main()
