"""The HTTP front: its answers, and what is in the queues when it answers."""

import concurrent.futures
import http.client
import json
import signal
import socket
import time

import aio_pika

from support import BrokerTest, Program, eventually, free_port, main


class Api(BrokerTest):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.api = self.start("orders_api", "--listen", f"127.0.0.1:{self.port}")
        eventually(lambda: self.api.errors == [f"Listening on 127.0.0.1:{self.port}"], "it listens")

    def request(self, method, path, body=None, content_type="application/json"):
        """Returns the status and the body of the answer, read as JSON where it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Content-Type": content_type} if body is not None else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def test_an_order_in_the_query_or_in_a_body(self):
        queued = (200, {"status": "Message queued"})
        self.assertEqual(self.request("POST", "/orders/?order_id=7"), queued)
        self.assertEqual(self.request("POST", "/orders/?order_id=a%20b"), queued)
        self.assertEqual(self.request("POST", "/orders/", '{"order_id": 8}'), queued)
        self.assertEqual(self.request("POST", "/orders/", '{"order_id": -8}'), queued)
        self.assertEqual(self.request("POST", "/orders/", '{"order_id": "zölf"}'.encode()), queued)
        self.assertEqual(self.request("POST", "/orders/", '{"order_id": "9"}'), queued)
        messages = self.messages("orders")
        self.assertEqual([json.loads(message.body)["order_id"] for message in messages],
                         [7, "a b", 8, -8, "zölf", 9])
        for message in messages:
            self.assertEqual(message.delivery_mode, aio_pika.DeliveryMode.PERSISTENT)
            self.assertIn("timestamp", json.loads(message.body))

    def test_a_task(self):
        self.assertEqual(self.request("POST", "/publish/?item_id=7"), (200, {"status": "Message queued"}))
        self.assertEqual(self.request("POST", "/publish/", '{"item_id": "x"}'), (200, {"status": "Message queued"}))
        self.assertEqual([json.loads(message.body) for message in self.messages("task_queue")],
                         [{"item_id": 7, "action": "process"}, {"item_id": "x", "action": "process"}])

    def test_missing_or_wrong_fields(self):
        for path, name in (("/orders/", "order_id"), ("/publish/", "item_id")):
            requests = [(path, None), (path + "?other=7", None), (path + f"?{name}=", None),
                        (path + f"?{name}=%FF", None), (path + f"?{name}=a%0Ab", None)]
            requests += [(path, body) for body in (
                "", "7", "[]", "null", "not JSON", '{"other": 7}', f'{{"{name}": null}}', f'{{"{name}": ""}}',
                f'{{"{name}": 1.5}}', f'{{"{name}": true}}', f'{{"{name}": [7]}}', f'{{"{name}": 7',
                f'{{"{name}": "a\\nb"}}', f'{{"{name}": "'.encode() + b'\xff"}')]
            for target, body in requests:
                with self.subTest(target=target, body=body):
                    status, answer = self.request("POST", target, body)
                    self.assertEqual(status, 422)
                    self.assertIn(name, answer["detail"])
        self.assertEqual(self.count("orders") + self.count("task_queue"), 0)

    def test_a_request_without_a_length_has_no_body(self):
        """It is answered at once, and asked to close: then httplib 0.41 waits for a body."""
        for asked in ("", "Connection: close\r\n", "Connection: keep-alive\r\n"):
            with self.subTest(asked=asked), socket.create_connection(("127.0.0.1", self.port), timeout=60) as link:
                began = time.monotonic()
                link.sendall(f"POST /orders/?order_id=7 HTTP/1.1\r\nHost: h\r\n{asked}\r\n".encode())
                answer = http.client.HTTPResponse(link, method="POST")
                answer.begin()
                self.assertEqual((answer.status, json.loads(answer.read())), (200, {"status": "Message queued"}))
                self.assertLess(time.monotonic() - began, 4)  # httplib waits for five seconds
                self.assertEqual(answer.headers.get_all("Connection"), ["close"])
                self.assertIsNone(answer.headers.get("Keep-Alive"))
        self.assertEqual(self.ids("orders"), ["7"] * 3)

    def test_a_body_of_any_size(self):
        def padded(size):
            body = '{"order_id": 7}'
            return body + " " * (size - len(body))
        self.assertEqual(self.request("POST", "/orders/", padded(65_536))[0], 200)
        status, answer = self.request("POST", "/orders/", padded(65_537))
        self.assertEqual((status, answer), (413, {"detail": "the body is above 64 KiB"}))
        def peak_kib():
            with open(f"/proc/{self.api.process.pid}/status", encoding="ascii") as status:
                return int(next(line for line in status if line.startswith("VmHWM")).split()[1])
        before = peak_kib()
        self.assertEqual(self.request("POST", "/orders/", padded(100_000_000))[0], 413)
        self.assertLess(peak_kib() - before, 30_000)
        self.assertEqual(self.ids("orders"), ["7"])

    def test_other_paths(self):
        for method, path in (("GET", "/"), ("GET", "/orders/"), ("POST", "/order/"), ("POST", "/health")):
            self.assertEqual(self.request(method, path)[0], 404, path)

    def test_many_requests_share_a_publisher(self):
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda id: self.request("POST", f"/orders/?order_id={id}"), range(1000)))
        self.assertEqual(answers, [(200, {"status": "Message queued"})] * 1000)
        self.assertEqual(sorted(self.ids("orders"), key=int), [str(id) for id in range(1000)])

    def test_a_broker_that_goes_and_comes(self):
        self.assertEqual(self.request("GET", "/health"), (200, {"status": "ok"}))
        self.broker.kill()
        eventually(lambda: self.request("GET", "/health")[0] == 503, "its health says that the broker is gone")
        status, answer = self.request("POST", "/orders/?order_id=7")
        self.assertEqual(status, 503)
        self.assertTrue(answer["detail"])
        self.broker.restart()
        self.assertEqual(self.request("POST", "/orders/?order_id=8")[0], 200)
        self.assertEqual(self.request("GET", "/health")[0], 200)
        self.assertEqual(self.ids("orders"), ["8"])

    def test_a_login_that_is_refused_for_a_while(self):
        """The connection gives up; the next request that can makes a new one."""
        self.broker.run("ctl", "change_password", "guest", "sesame")
        try:
            self.broker.run("ctl", "close_all_connections", "a test")
            eventually(lambda: self.request("GET", "/health")[0] == 503, "the login is refused")
            self.assertEqual(self.request("POST", "/orders/?order_id=7")[0], 503)
        finally:
            self.broker.run("ctl", "change_password", "guest", "guest")
        eventually(lambda: self.request("GET", "/health")[0] == 200, "it is healthy again")
        self.assertEqual(self.request("POST", "/orders/?order_id=8")[0], 200)
        self.assertEqual(self.ids("orders"), ["8"])

    def test_a_blocking_broker(self):
        self.broker.block()
        try:
            status, answer = self.request("POST", "/orders/?order_id=7")
        finally:
            self.broker.unblock()
        self.assertEqual(status, 503)
        self.assertIn("block", answer["detail"])
        eventually(lambda: self.request("POST", "/orders/?order_id=8")[0] == 200, "it is unblocked")

    def test_what_no_queue_takes(self):
        async def unbind(channel):
            await (await channel.get_queue("orders")).unbind("orders_exchange", "orders")
        self.client(unbind)
        status, answer = self.request("POST", "/orders/?order_id=7")
        self.assertEqual(status, 503)
        self.assertFalse(answer["in_doubt"])

    def test_a_stop(self):
        for stop in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(stop=stop):
                api = self.start("orders_api", "--listen", f"127.0.0.1:{free_port()}")
                eventually(lambda: api.errors, "it listens")
                api.process.send_signal(stop)
                self.assertEqual(api.wait(), 0, api)

    def test_a_port_in_use(self):
        other = Program("orders_api", "--url", self.url, "--listen", f"127.0.0.1:{self.port}")
        self.addCleanup(other.close)
        self.assertEqual(other.wait(), 1)
        self.assertEqual(other.errors, [f"orders_api: cannot listen on 127.0.0.1:{self.port}"])


if __name__ == "__main__":
    main()
