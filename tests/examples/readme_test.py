"""README.md's first producer and consumer on a broker that has no queue yet, with a handler that fails."""

import unittest

from support import Broker, BrokerTest, Program, eventually, main


class Readme(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.close)

    def start(self, name):
        program = Program(name, environment={"AMQP_URL": self.broker.url})
        self.addCleanup(program.close)
        return program

    def queues(self):
        """The queues that hold messages: how many, and whether anybody consumes them."""
        rows = self.broker.run("ctl", "--quiet", "list_queues", "name", "messages", "consumers", "--no-table-headers")
        found = (row.split("\t") for row in rows.splitlines())
        return {name: (int(messages), int(consumers) > 0) for name, messages, consumers in found if int(messages)}

    def test_a_failed_message_is_tried_again_and_ends_in_the_parked_queue(self):
        consumer = self.start("readme_consumer")  # it is the first, and declares its queue
        producer = self.start("readme_producer")
        self.assertEqual(producer.wait(), 0, producer)
        eventually(lambda: consumer.process.poll() is not None or self.queues() == {"orders_parked": (1, False)},
                   "it is parked", 180)  # 15 s of delays, and rabbitmqctl's
        self.assertIsNone(consumer.process.poll(), consumer)
        BrokerTest.url = self.broker.url
        async def parked(channel):
            return await (await channel.get_queue("orders_parked")).get()
        message = BrokerTest.client(parked)
        self.assertEqual(message.headers["retry-reason"], "max-attempts")
        self.assertEqual(message.headers["retry-attempt"], 5)


if __name__ == "__main__":
    main()
