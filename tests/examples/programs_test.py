"""What the programs do with a broker: lines, messages, retries, parking, stops."""

import datetime
import json
import subprocess
import time

import aio_pika

from support import BrokerTest, Program, eventually, main

IDLE = ("--exit-when-idle", "0.5")


class Producer(BrokerTest):
    def test_digits_become_integers(self):
        """An id that a JSON integer can't hold, or not to the letter, stays a string. All are printed bare."""
        wanted = ["7", "abc", "0", "007", "-5", "9223372036854775807", "99999999999999999999", "zwölf 12"]
        lines = self.run_to_end("orders_producer", "--", *wanted)
        self.assertEqual(lines, [f"Queued order {id}" for id in wanted])
        orders = [json.loads(message.body) for message in self.messages("orders")]
        self.assertEqual([order["order_id"] for order in orders],
                         [7, "abc", 0, "007", "-5", 2**63 - 1, "99999999999999999999", "zwölf 12"])
        for order in orders:
            self.assertEqual(order.keys(), {"order_id", "timestamp"})
            moment = datetime.datetime.fromisoformat(order["timestamp"])
            self.assertEqual(moment.utcoffset(), datetime.timedelta(0))
            self.assertLess(abs(datetime.datetime.now(datetime.timezone.utc) - moment).total_seconds(), 60)

    def test_messages_are_persistent_json_from_the_exchange(self):
        self.run_to_end("orders_producer", "1")
        message, = self.messages("orders")
        self.assertEqual(message.delivery_mode, aio_pika.DeliveryMode.PERSISTENT)
        self.assertEqual(message.content_type, "application/json")
        self.assertEqual((message.exchange, message.routing_key), ("orders_exchange", "orders"))

    def test_count_and_first(self):
        lines = self.run_to_end("orders_producer", "--count", "300", "--first", "5")
        self.assertEqual(lines, [f"Queued order {id}" for id in range(5, 305)])
        self.assertEqual(self.ids("orders"), [str(id) for id in range(5, 305)])

    def test_url_from_the_environment(self):
        program = Program("orders_producer", "1", environment={"AMQP_URL": self.url})
        self.addCleanup(program.close)
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(self.count("orders"), 1)

    def test_a_stop_waits_for_what_is_in_flight(self):
        program = self.start("orders_producer", "--count", "1000000")
        eventually(lambda: len(program.lines) > 200, "orders are queued")
        program.stop()
        self.assertEqual(program.wait(), 0, program)
        self.assertLess(len(program.lines), 1_000_000)
        # Every order that was sent has its line, and every line its order.
        self.assertEqual(self.count("orders"), len(program.lines))

    def test_a_blocking_broker(self):
        self.broker.block()
        try:
            program = self.start("orders_producer", "--count", "1000", "--timeout", "1")
            self.assertEqual(program.wait(), 1)
        finally:
            self.broker.unblock()
        self.assertEqual(program.lines, [])
        self.assertIn("block", program.errors[0])
        self.assertEqual(program.errors[-1], "0 of 1000 orders are queued")

    def test_waits_for_a_broker_that_comes_late(self):
        self.broker.kill()
        program = self.start("orders_producer", "1")
        eventually(program.handles_signals, "the program runs")
        self.broker.restart()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(self.ids("orders"), ["1"])

    def test_a_broker_that_dies_and_comes_again(self):
        program = self.start("orders_producer", "--count", "5000",
                             at_line=(300, lambda _: self.broker.kill_at_once()))
        eventually(lambda: program.errors, "it has noticed")
        self.broker.restart()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(program.ids("Queued order"), [str(id) for id in range(1, 5001)])
        self.assertEqual(set(self.ids("orders")), {str(id) for id in range(1, 5001)})
        self.assertEqual(program.errors[-1], "Connected again")

    def test_a_broker_that_dies(self):
        program = self.start("orders_producer", "--count", "5000", "--timeout", "2",
                             at_line=(300, lambda _: self.broker.kill_at_once()))
        try:
            self.assertEqual(program.wait(), 1)
        finally:
            self.broker.restart()
        queued = program.ids("Queued order")
        self.assertEqual(program.errors[-1], f"{len(queued)} of 5000 orders are queued")
        self.assertLessEqual(set(queued), set(self.ids("orders")))

    def test_wrong_password(self):
        began = time.monotonic()
        program = Program("orders_producer", "1", "--url", self.url.replace("guest:guest", "guest:sesame"))
        self.addCleanup(program.close)
        self.assertEqual(program.wait(), 1)
        self.assertLess(time.monotonic() - began, 15)  # at once: the broker answers so a second late
        self.assertEqual(len(program.errors), 1, program)
        self.assertIn("403", program.errors[0])
        self.assertNotIn("sesame", program.errors[0])


class Consumers(BrokerTest):
    waits = True

    def test_success(self):
        self.put("orders", {"order_id": 7, "timestamp": "2024-05-01T10:00:00Z"})
        self.put("orders", {"order_id": "7b"})
        lines = self.run_to_end("orders_consumer", "--failure-rate", "0", *IDLE)
        self.assertEqual(lines, ["Processing order 7 at 2024-05-01T10:00:00Z", "Processed order 7",
                                 "Processing order 7b at an unknown time", "Processed order 7b"])
        for queue in ("orders", "orders_retry", "orders_parked"):
            self.assertEqual(self.count(queue), 0)

    def test_failure_goes_to_the_retry_queue(self):
        self.run_to_end("orders_producer", "1")
        program = self.start("orders_consumer", "--failure-rate", "1", *IDLE)
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(program.ids("Processed order"), [])
        self.assertEqual(program.errors, ["Order 1 failed, on purpose"])
        message, = self.messages("orders_retry")
        self.assertEqual(message.headers["retry-reason"], "exception")
        self.assertEqual(message.headers["retry-attempt"], 1)
        self.assertEqual(message.headers["retry-original-queue"], "orders")
        self.assertEqual(message.delivery_mode, aio_pika.DeliveryMode.PERSISTENT)
        self.assertEqual(self.count("orders"), 0)

    def test_the_last_attempt_parks(self):
        self.run_to_end("orders_producer", "one")
        self.run_to_end("orders_consumer", "--failure-rate", "1", *IDLE)
        program = self.start("orders_retry_consumer", "--failure-rate", "1", "--max-attempts", "3", *IDLE)
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(program.ids("Processing order"), ["one"] * 3)
        self.assertEqual(program.ids("Processed order"), [])
        self.assertEqual(self.count("orders_retry"), 0)
        message, = self.messages("orders_parked")
        self.assertEqual(json.loads(message.body)["order_id"], "one")
        self.assertEqual(message.headers["retry-reason"], "max-attempts")
        self.assertEqual(message.headers["retry-attempt"], 4)
        self.assertEqual(message.headers["retry-original-queue"], "orders")
        self.assertEqual(message.headers["retry-original-exchange"], "orders_exchange")
        self.assertEqual(message.headers["retry-original-routing-key"], "orders")
        self.assertEqual(message.headers["retry-error-message"], "failed on purpose")
        self.assertLessEqual(message.headers["retry-first-failure-at"], message.headers["retry-last-failure-at"])

    def test_each_retry_waits_longer(self):
        self.run_to_end("orders_producer", "one")
        self.run_to_end("orders_consumer", "--failure-rate", "1", *IDLE)
        began = time.monotonic()
        program = self.start("orders_retry_consumer", "--failure-rate", "1", "--max-attempts", "4",
                             "--initial-delay", "0.7", "--max-delay", "1.5", "--exit-when-idle", "0.3")
        self.assertEqual(program.wait(), 0, program)
        self.assertGreaterEqual(time.monotonic() - began, 0.7 + 1.4 + 1.5)  # idle at no time in between
        message, = self.messages("orders_parked")
        self.assertEqual(message.headers["retry-queue-attempt"], 4)
        self.assertGreaterEqual(message.headers["retry-last-failure-at"] - message.headers["retry-first-failure-at"],
                                700 + 1400 + 1500)

    def test_what_is_no_order_is_parked_at_once(self):
        bodies = [b"", b"order 7", b"{\"order_id\": 7", b"{\"order_id\": \"\xff\"}", b"[7]", b"7", b"null", b"{}",
                  b"{\"timestamp\": \"now\"}", b"{\"order_id\": null}", b"{\"order_id\": {}}",
                  b"{\"order_id\": 7, \"timestamp\": " + b"[" * 50_000 + b"]" * 50_000 + b"}"]
        for name, queue in (("orders_consumer", "orders"), ("orders_retry_consumer", "orders_retry")):
            with self.subTest(name=name):
                self.setUp()
                for body in bodies:
                    self.put(queue, body, headers={"mine": "kept"})
                self.put(queue, {"order_id": 7})
                program = self.start(name, "--failure-rate", "0", *IDLE)
                self.assertEqual(program.wait(), 0, program)
                self.assertEqual(program.ids("Processed order"), ["7"])
                parked = self.messages("orders_parked")
                self.assertEqual([message.body for message in parked], bodies)
                for message in parked:
                    self.assertEqual(message.headers["retry-reason"], "undecodable")
                    self.assertEqual(message.headers["retry-original-queue"], queue)
                    self.assertEqual(message.headers["mine"], "kept")
                    self.assertTrue(message.headers["retry-error-message"])
                self.assertEqual(self.count("orders_retry"), 0)

    def test_an_idle_time_of_0_ends_it_once_all_is_done(self):
        self.run_to_end("orders_producer", "--count", "500")
        program = self.start("orders_consumer", "--failure-rate", "0", "--exit-when-idle", "0")
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(len(program.ids("Processed order")), 500)

    def test_an_id_cannot_forge_a_line(self):
        self.put("orders", {"order_id": "1\nProcessed order 2"})
        lines = self.run_to_end("orders_consumer", "--failure-rate", "0", *IDLE)
        self.assertEqual(lines[1:], [r'Processed order "1\nProcessed order 2"'])

    def test_the_seed_decides(self):
        outcomes = []
        for seed in ("1", "1", "2"):
            self.setUp()
            self.run_to_end("orders_producer", "--count", "100")
            outcomes.append(self.run_to_end("orders_consumer", "--seed", seed, *IDLE))
        processed = [[line for line in lines if line.startswith("Processed")] for lines in outcomes]
        self.assertEqual(processed[0], processed[1])
        self.assertNotEqual(processed[0], processed[2])
        self.assertTrue(20 < len(processed[0]) < 80)

    def test_concurrency(self):
        """Many handlers write whole lines, and each order is processed once."""
        self.run_to_end("orders_producer", "--count", "2000")
        lines = self.run_to_end("orders_consumer", "--failure-rate", "0", "--concurrency", "16", *IDLE)
        processed = [line for line in lines if line.startswith("Processed")]
        self.assertEqual(sorted(processed), sorted(f"Processed order {id}" for id in range(1, 2001)))
        self.assertEqual(len(lines), 4000)

    def test_a_stop_drains(self):
        for concurrency in ("1", "8"):
            with self.subTest(concurrency=concurrency):
                self.setUp()
                self.run_to_end("orders_producer", "--count", "30000")
                program = self.start("orders_consumer", "--failure-rate", "0", "--concurrency", concurrency)
                eventually(lambda: len(program.lines) > 100, "orders are processed")
                program.stop()
                self.assertEqual(program.wait(), 0, program)
                processed = program.ids("Processed order")
                self.assertEqual(len(program.ids("Processing order")), len(processed))
                self.assertTrue(100 < 2 * len(processed) < 2 * 30_000)
                # What was processed was acknowledged; what was not begun is back.
                eventually(lambda: self.count("orders") == 30_000 - len(processed), "the others are back")
                self.assertEqual(sorted(processed + self.ids("orders"), key=int),
                                 [str(id) for id in range(1, 30_001)])

    def assert_not_idle(self, program):
        """For several times as long as it would wait, it neither ends nor stops: a stop ends the subscription."""
        with self.assertRaises(subprocess.TimeoutExpired, msg="it took itself for idle"):
            program.process.wait(2)
        self.assertTrue(self.has_consumer("orders"), "it took itself for idle, and drains")

    def test_a_running_handler_is_not_idle(self):
        """Nobody reads what it writes, and its line is larger than a pipe."""
        self.put("orders", {"order_id": 7, "timestamp": "x" * 500_000})
        program = self.start("orders_consumer", "--failure-rate", "0", *IDLE, read=False)
        eventually(lambda: self.count("orders") == 0, "the order is received")
        self.assert_not_idle(program)
        program.read()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(program.ids("Processed order"), ["7"])

    def test_what_was_received_and_not_begun_is_not_idle(self):
        self.run_to_end("orders_producer", "--count", "5000")
        program = self.start("orders_consumer", "--failure-rate", "0", "--prefetch", "65535", *IDLE, read=False)
        eventually(lambda: self.count("orders") == 0, "all are received")
        self.assert_not_idle(program)
        program.read()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(len(program.ids("Processed order")), 5000)

    def test_without_its_output_it_acknowledges_nothing(self):
        program = self.start("orders_consumer", "--failure-rate", "0", read=False)
        program.process.stdout.close()
        eventually(program.handles_signals, "the program runs")
        self.put("orders", {"order_id": 7})
        self.assertEqual(program.wait(), 1)
        self.assertEqual(program.errors, ["standard output can't be written to"])
        eventually(lambda: self.count("orders") == 1, "the order is back")

    def test_a_broker_that_dies_and_comes_again(self):
        """Meanwhile, it is not idle."""
        self.run_to_end("orders_producer", "--count", "2000")
        program = self.start("orders_consumer", "--failure-rate", "0", *IDLE,
                             at_line=(300, lambda _: self.broker.kill_at_once()))
        eventually(lambda: program.errors, "it has noticed")
        self.broker.restart()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(set(program.ids("Processed order")), {str(id) for id in range(1, 2001)})
        self.assertEqual(self.count("orders"), 0)

    def test_a_stop_while_the_broker_is_away(self):
        for name, queue, *arguments in (("orders_consumer", "orders", "--exit-when-idle", "600"),
                                        ("orders_retry_consumer", "orders_retry"), ("task_worker", "task_queue")):
            with self.subTest(name=name):
                program = self.start(name, *arguments)
                self.wait_for_consumer(queue)
                self.broker.kill()
                try:
                    eventually(lambda: program.errors, "it has noticed")
                    program.stop()
                    self.assertEqual(program.wait(), 0, program)
                finally:
                    self.broker.restart()

    def test_a_deleted_queue(self):
        """What can't heal ends it, with the cause."""
        program = self.start("orders_consumer")
        self.wait_for_consumer("orders")
        self.client(lambda channel: channel.queue_delete("orders"))
        self.assertEqual(program.wait(), 1)
        self.assertIn("the queue is gone", program.errors[-1])

    def test_a_copy_that_the_broker_does_not_take(self):
        """It is told, since nothing else is to be seen meanwhile."""
        self.put("orders", {"order_id": 7})
        self.broker.block()
        try:
            program = self.start("orders_consumer", "--failure-rate", "1", *IDLE)
            eventually(lambda: any("orders_retry" in line for line in program.errors), "it tells")
        finally:
            self.broker.unblock()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(self.ids("orders_retry"), ["7"])


class TaskWorker(BrokerTest):
    def test_prints_what_it_receives(self):
        program = self.start("task_worker")
        eventually(program.handles_signals, "the program runs")
        self.put("task_queue", {"item_id": 7, "action": "process"})
        self.put("task_queue", "zwölf".encode())
        eventually(lambda: len(program.lines) == 2, "both are received")
        self.assertEqual(program.lines, ['Received message: {"item_id": 7, "action": "process"}',
                                         "Received message: zwölf"])
        program.stop()
        self.assertEqual(program.wait(), 0, program)
        self.assertEqual(self.count("task_queue"), 0)


if __name__ == "__main__":
    main()
