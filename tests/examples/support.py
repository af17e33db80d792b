"""What the tests of the example programs share: a private broker, a running program, and a second client.

The second client is aio-pika, which knows nothing of warren: what it finds in a queue is there.
Each test script is called with the folder of the programs and the root of the sources.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import aio_pika

PROGRAMS, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3]) if len(sys.argv) > 2 else ("", "")
QUEUES = ("orders", "orders_retry", "orders_parked", "task_queue")
DELAYS = (200, 400, 800, 1600)  # of orders_retry_consumer, in ms


def main():
    if not PROGRAMS:
        sys.exit(f"usage: {sys.argv[0]} PROGRAMS SOURCE [unittest's arguments]")
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)


def eventually(condition, what, seconds=60):
    """Waits until the condition holds, and returns what it gave."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return result


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Broker:
    """A node of its own; where a run of the tests has a folder for such, in there, so that none outlives it."""

    def __init__(self):
        own = os.path.join(os.environ.get("WARREN_TEST_BROKER_DIR", ""), "own")
        if "WARREN_TEST_BROKER_DIR" in os.environ:
            os.makedirs(own, exist_ok=True)
        self.folder = tempfile.mkdtemp(dir=own if "WARREN_TEST_BROKER_DIR" in os.environ else None)
        self.url = self.run("start").strip()

    def run(self, command, *arguments):
        script = os.path.join(SOURCE, "tests", "support", "private_broker.sh")
        return subprocess.run([script, command, self.folder, *arguments], check=True, text=True,
                              stdout=subprocess.PIPE, timeout=240).stdout

    def instance(self):
        """The process id of the node."""
        with open(os.path.join(self.folder, "run", "beam"), encoding="ascii") as process:
            return int(process.read().split()[0])

    def queues(self):
        return self.run("ctl", "list_queues", "name", "messages_ready", "messages_unacknowledged", "consumers")

    def kill(self):
        self.run("kill")

    def kill_at_once(self):
        """As kill(), within microseconds; restart() cleans up."""
        os.kill(self.instance(), signal.SIGKILL)

    def restart(self):
        self.run("restart")

    def block(self):
        self.run("ctl", "set_vm_memory_high_watermark", "0")
        eventually(lambda: "memory" in self.run("ctl", "eval", "rabbit_alarm:get_alarms()."), "a memory alarm")

    def unblock(self):
        self.run("ctl", "set_vm_memory_high_watermark", "absolute", "1GB")

    def close(self):
        self.run("stop")
        shutil.rmtree(self.folder)


class BrokerTest(unittest.TestCase):
    """A test with a broker, which its class shares, and empty queues, which are all plain durable ones, but for those
    that orders_retry_consumer waits in."""

    waits = False  # whether those to wait in are declared ahead

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker()
        cls.addClassCleanup(cls.broker.close)
        cls.url = cls.broker.url
        if cls.waits:
            # A quorum queue that was declared just before a kill may be without a leader for good (RabbitMQ 3.10):
            # a clean restart keeps it.
            cls.client(cls._declare_and_purge)
            cls.broker.restart()

    def setUp(self):
        self.client(self._declare_and_purge)

    @classmethod
    async def _declare_and_purge(cls, channel):
        for name in QUEUES:
            await (await channel.declare_queue(name, durable=True)).purge()
        # As any client may declare them: with other arguments than warren's this would be a 406 to it.
        for delay in DELAYS if cls.waits else ():
            await (await channel.declare_queue(f"orders_retry_wait_{delay}", durable=True, arguments={
                "x-queue-type": "quorum", "x-message-ttl": delay, "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "orders_retry", "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish"})).purge()

    @classmethod
    def client(cls, work):
        """Runs a coroutine function over a channel of aio-pika's."""
        async def connected():
            connection = await aio_pika.connect(cls.url)
            try:
                return await work(await connection.channel())
            finally:
                await connection.close()
        return asyncio.run(connected())

    def count(self, queue):
        async def work(channel):
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count
        return self.client(work)

    def has_consumer(self, queue):
        async def work(channel):
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.consumer_count > 0
        return self.client(work)

    def wait_for_consumer(self, queue):
        eventually(lambda: self.has_consumer(queue), f"{queue} has a consumer")

    def put(self, queue, body, **properties):
        """Publishes to a queue, confirmed."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        async def work(channel):
            await channel.default_exchange.publish(aio_pika.Message(body, **properties), queue)
        self.client(work)

    def messages(self, queue):
        """What is in a queue; it stays there."""
        async def work(channel):
            declared = await channel.declare_queue(queue, passive=True)
            left = declared.declaration_result.message_count
            found = []
            if left:
                async with declared.iterator() as iterator:
                    async for message in iterator:
                        found.append(message)
                        if len(found) == left:
                            break
            return found
        return self.client(work)

    def ids(self, queue):
        """The ids of the orders in a queue, as the programs print them."""
        return [str(json.loads(message.body)["order_id"]) for message in self.messages(queue)]

    def start(self, name, *arguments, **options):
        program = Program(name, "--url", self.url, *arguments, **options)
        self.addCleanup(program.close)
        return program

    def run_to_end(self, name, *arguments, seconds=120):
        """Runs a program that must end well; returns its lines on standard output."""
        program = self.start(name, *arguments)
        self.assertEqual(program.wait(seconds), 0, program)
        return program.lines


class Program:
    """An example program that runs, and the lines it has written so far."""

    def __init__(self, name, *arguments, at_line=None, read=True, environment=None):
        self.at_line = at_line  # (number, what to do as soon as that line of its output was read)
        self.lines, self.errors = [], []
        inherited = {key: value for key, value in os.environ.items() if key != "AMQP_URL"}
        self.process = subprocess.Popen([os.path.join(PROGRAMS, name), *arguments], text=True,
                                        env=inherited | (environment or {}), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.readers = [threading.Thread(target=self._read_lines),
                        threading.Thread(target=self._read_errors)]
        self.readers[1].start()
        if read:
            self.readers[0].start()

    def read(self):
        """Begins to read the standard output of a program started with read=False."""
        self.readers[0].start()

    def _read_lines(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self.at_line and len(self.lines) == self.at_line[0]:
                self.at_line[1](self)

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors.append(line.rstrip("\n"))

    def kill(self):
        self.process.kill()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)

    def handles_signals(self):
        """Whether it has come so far as to wait for SIGTERM rather than to die of it."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            caught = int(re.search(r"^SigCgt:\s*(\w+)", status.read(), re.MULTILINE)[1], 16)
        return caught >> (signal.SIGTERM - 1) & 1

    def wait(self, seconds=60):
        """Its exit code, once all it wrote was read."""
        code = self.process.wait(seconds)
        for reader in self.readers:
            if reader.ident:
                reader.join()
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def ids(self, prefix):
        """Of the lines `<prefix> <id>…`."""
        return ids(self.lines, prefix)

    def __str__(self):
        return "\n".join(["", *self.lines[-5:], "--- standard error:", *self.errors[-20:]])


def ids(lines, prefix):
    """The ids in the lines `<prefix> <id>` and `<prefix> <id> at …`."""
    return [line[len(prefix) + 1:].split(" at ")[0] for line in lines if line.startswith(prefix + " ")]
