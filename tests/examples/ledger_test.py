"""The ledger under kill -9: every order that was said to be queued is said to be processed, or is parked."""

import random

from support import BrokerTest, Program, eventually, main

IDLE = ("--exit-when-idle", "1")


class Ledger(BrokerTest):
    waits = True

    def check(self, sent, programs):
        """Each order that was sent has its `Processed order` line or rests in orders_parked, and none waits."""
        self.assertEqual(self.count("orders"), 0)
        self.assertEqual(self.count("orders_retry"), 0)
        lines = [id for program in programs for id in program.ids("Processed order")]
        parked = self.ids("orders_parked")
        missing = set(sent) - set(lines) - set(parked)
        self.assertEqual(missing, set(), f"{len(missing)} of {len(sent)} orders are lost")
        self.assertLessEqual(set(lines) | set(parked), set(sent))
        print(f"sent {len(sent)}, processed {len(set(lines))}, parked {len(set(parked))}, "
              f"duplicates {len(lines) + len(parked) - len(set(lines) | set(parked))}")

    def run_until_idle(self, *names, seconds=300):
        programs = [self.start(name, "--failure-rate", "0.5", *IDLE) for name in names]
        for program in programs:
            self.assertEqual(program.wait(seconds), 0, program)
        return programs

    def work_at_once(self, number, at_line=None):
        """Producer, consumer and retry consumer at the same time; returns the ids sent, and the programs."""
        running = [self.start(name, "--failure-rate", "0.5", "--concurrency", "4")
                   for name in ("orders_consumer", "orders_retry_consumer")]
        producer = self.start("orders_producer", "--count", str(number), at_line=at_line)
        self.assertEqual(producer.wait(300), 0, producer)
        def missing():
            found = {id for program in running for id in program.ids("Processed order")}
            return {str(id) for id in range(1, number + 1)} - found - set(self.ids("orders_parked"))
        try:
            # After a start, RabbitMQ 3.10 may find the queue for a message that has waited not there yet; then it
            # tries again three minutes later.
            eventually(lambda: not missing(), "each order is processed or parked", 480)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), f"missing: {sorted(missing())[:50]}", self.broker.queues(),
                                            *map(str, running)])) from error
        for program in running:
            program.stop()
            self.assertEqual(program.wait(), 0, program)
        sent = producer.ids("Queued order")
        self.assertEqual(sent, [str(id) for id in range(1, number + 1)])
        self.check(sent, running)
        return sent, running

    def test_all_at_once(self):
        _, programs = self.work_at_once(3000)
        # Nobody died: nothing came twice.
        lines = [id for program in programs for id in program.ids("Processed order")]
        self.assertEqual(len(lines) + self.count("orders_parked"), 3000)

    def test_a_broker_killed_in_the_middle(self):
        """The programs have no code of their own for it."""
        def kill(_):
            self.broker.kill_at_once()
            self.broker.restart()
        self.work_at_once(3000, at_line=(1000, kill))

    def test_10000_orders_and_a_killed_broker(self):
        sent = [line.removeprefix("Queued order ")
                for line in self.run_to_end("orders_producer", "--count", "10000")]
        self.assertEqual(sent, [str(id) for id in range(1, 10_001)])
        self.broker.kill()
        self.broker.restart()
        self.assertEqual(self.count("orders"), 10_000)
        programs = self.run_until_idle("orders_consumer")
        programs += self.run_until_idle("orders_retry_consumer")
        self.check(sent, programs)

    def test_a_killed_consumer(self):
        """Ten times, at a line of its output that chance chooses."""
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        print(f"seed {seed}")
        sent = [line.removeprefix("Queued order ")
                for line in self.run_to_end("orders_producer", "--count", "20000")]
        programs = []
        for _ in range(10):
            program = self.start("orders_consumer", "--failure-rate", "0.5",
                                 "--concurrency", str(chance.choice((1, 4))),
                                 at_line=(chance.randrange(1, 600), Program.kill))
            self.assertEqual(program.wait(), -9, program)
            programs.append(program)
            # It was at work: orders are left.
            eventually(lambda: self.count("orders") > 0, "orders are back in their queue")
        programs += self.run_until_idle("orders_consumer")
        programs += self.run_until_idle("orders_retry_consumer")
        self.check(sent, programs)

    def test_killed_ahead_of_the_confirm_of_a_copy(self):
        """An alarm keeps the broker from taking the copy; the original is acknowledged by nobody."""
        self.run_to_end("orders_producer", "--count", "5")
        self.broker.block()
        try:
            program = self.start("orders_consumer", "--failure-rate", "1")
            eventually(lambda: program.errors == ["Order 1 failed, on purpose"], "an attempt has failed")
            eventually(lambda: "(retry)" in self.broker.run("ctl", "list_connections", "client_properties"),
                       "it is about to send the copy")
            program.kill()
            self.assertEqual(program.wait(), -9)
        finally:
            self.broker.unblock()
        eventually(lambda: self.ids("orders") == ["1", "2", "3", "4", "5"], "all are back")

    def test_a_killed_retry_consumer(self):
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        print(f"seed {seed}")
        sent = [line.removeprefix("Queued order ")
                for line in self.run_to_end("orders_producer", "--count", "5000")]
        failed = self.start("orders_consumer", "--failure-rate", "1", *IDLE)
        self.assertEqual(failed.wait(), 0, failed)
        programs = []
        for _ in range(5):
            program = self.start("orders_retry_consumer", "--failure-rate", "0.5",
                                 at_line=(chance.randrange(1, 300), Program.kill))
            self.assertEqual(program.wait(), -9, program)
            programs.append(program)
        programs += self.run_until_idle("orders_retry_consumer")
        self.check(sent, programs)


if __name__ == "__main__":
    main()
