"""orders_parked: what it lists, replays and deletes, and that a killed replay loses nothing."""

import time
import unittest

import aio_pika

from support import BrokerTest, eventually, main

PARKED = {"retry-reason": "max-attempts", "retry-attempt": 5, "retry-original-queue": "orders"}


class Parked(BrokerTest):
    def park(self, *ids, **headers):
        now = int(time.time() * 1000)
        async def work(channel):
            for order in ids:
                await channel.default_exchange.publish(aio_pika.Message(
                    f'{{"order_id": {order}}}'.encode(), headers=PARKED | {"retry-last-failure-at": now} |
                    {name.replace("_", "-"): value for name, value in headers.items()}), "orders_parked")
        self.client(work)

    def test_list(self):
        self.park(1, retry_error_message="on purpose")
        self.put("orders_parked", b"no order")
        self.park(2, retry_error_message="x\nParked order 3: \x1b[31m", retry_reason="a\rb")
        for _ in range(2):
            self.assertEqual(self.run_to_end("orders_parked", "list"),
                             ["Parked order 1: max-attempts after 5 attempts: on purpose",
                              "Parked order (undecodable): unknown after 0 attempts: unknown",
                              r'Parked order 2: "a\rb" after 5 attempts: "x\nParked order 3: \u001b[31m"'])
        self.assertEqual(self.count("orders_parked"), 3)

    def test_replay_by_reason_age_and_limit(self):
        old = int(time.time() * 1000) - 3_600_000
        self.park(1, retry_reason="rejected", retry_last_failure_at=old)
        self.park(2, 3, 4, retry_last_failure_at=old)
        self.park(5)
        chosen = ("--reason", "max-attempts", "--older-than", "60", "--limit", "2")
        self.assertEqual(self.run_to_end("orders_parked", "replay", *chosen, "--dry-run"),
                         ["Would replay 2 of 3 parked orders"])
        self.assertEqual(self.count("orders_parked"), 5)
        self.assertEqual(self.run_to_end("orders_parked", "replay", *chosen), ["Replayed 2 of 3 parked orders"])
        self.assertEqual(self.ids("orders"), ["2", "3"])
        for message in self.messages("orders"):
            headers = {name: value for name, value in message.headers.items() if name != "warren-stamp"}
            self.assertEqual(headers, {"retry-original-queue": "orders", "retry-replay-count": 1})
        self.assertEqual(self.ids("orders_parked"), ["1", "4", "5"])

    def test_replay_sends_to_no_queue_that_only_a_header_names(self):
        async def work(channel):
            await channel.declare_queue("victim", durable=True)
        self.client(work)
        self.park(1, retry_original_queue="victim")
        self.park(2)
        self.park(3, retry_original_queue="orders_retry")
        program = self.start("orders_parked", "replay", "--dry-run")
        self.assertEqual(program.wait(), 1, program)
        self.assertEqual(program.lines, ["Would replay 2 of 3 parked orders"])
        program = self.start("orders_parked", "replay")
        self.assertEqual(program.wait(), 1, program)
        self.assertEqual(program.lines, ["Replayed 2 of 3 parked orders"])
        self.assertIn("1 stay parked, for `victim`: ", "\n".join(program.errors))
        self.assertEqual(self.count("victim"), 0)
        self.assertEqual(self.ids("orders"), ["2"])
        self.assertEqual(self.ids("orders_retry"), ["3"])
        self.assertEqual(self.run_to_end("orders_parked", "--only", "victim", "replay"),
                         ["Replayed 1 of 1 parked orders"])
        self.assertEqual(self.count("victim"), 1)

    def test_what_a_publisher_wrote_reaches_no_terminal_raw(self):
        harm = "\x1b[2J\x07\x9b31m\u2028\u202e\u2066 ü"
        self.park(1, retry_error_message=harm, retry_reason="\u202e")
        self.park(2, retry_original_queue="lost" + harm)
        program = self.start("orders_parked", "replay")
        self.assertEqual(program.wait(), 1, program)
        listed = self.run_to_end("orders_parked", "list")
        said = "\n".join(listed + program.lines + program.errors)
        self.assertIn("lost", said)
        self.assertIn("ü", said)
        for each in "\x1b\x07\x9b\u2028\u202e\u2066":
            self.assertNotIn(each, said)

    def test_discard(self):
        self.park(1, 2)
        self.park(3, retry_reason="rejected")
        self.assertEqual(self.run_to_end("orders_parked", "discard", "--reason", "rejected", "--dry-run"),
                         ["Would discard 1 of 3 parked orders"])
        self.assertEqual(self.count("orders_parked"), 3)
        self.assertEqual(self.run_to_end("orders_parked", "discard", "--reason", "rejected"),
                         ["Discarded 1 of 3 parked orders"])
        self.assertEqual(self.ids("orders_parked"), ["1", "2"])

    def test_what_cannot_be_replayed_stays_and_is_told(self):
        nested = {}
        for _ in range(60):
            nested = {"in": nested}
        self.park(1, retry_original_queue="a queue that was deleted")
        self.park(2, hostile=nested)  # deeper than a client must read
        self.park(3)
        program = self.start("orders_parked", "replay")
        self.assertEqual(program.wait(), 1, program)
        self.assertEqual(program.lines, ["Replayed 1 of 3 parked orders"])
        self.assertEqual(len(program.errors), 2, program)
        self.assertIn("1 stay parked, for `a queue that was deleted`: ", "\n".join(program.errors))
        self.assertIn("can't be read", "\n".join(program.errors))
        self.assertEqual(self.ids("orders"), ["3"])
        self.assertEqual(self.count("orders_parked"), 2)
        self.run_to_end("orders_parked", "list")
        self.assertEqual(self.run_to_end("orders_parked", "discard"), ["Discarded 2 of 2 parked orders"])

    def test_a_killed_replay_loses_nothing(self):
        number = 3_000
        self.park(*range(number))
        kills = 0
        while self.count("orders_parked"):
            before = self.count("orders")
            program = self.start("orders_parked", "replay")
            eventually(lambda: self.count("orders") > before + 300 or program.process.poll() is not None,
                       "the replay is under way")
            if program.process.poll() is None:
                program.kill()
                kills += 1
            program.wait()
            # What it held comes back once the broker has seen it go.
            eventually(lambda: self.count("orders_parked") + self.count("orders") >= number, "nothing is lost")
        self.assertGreater(kills, 2)
        found = self.ids("orders")
        self.assertEqual(set(found), {str(order) for order in range(number)})
        print(f"{kills} kills, {len(found) - number} duplicates")


if __name__ == "__main__":
    main()
