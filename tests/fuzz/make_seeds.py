#!/usr/bin/env python3
"""Writes the fuzzers' seeds: what each of them begins with, one file for each input.

    make_seeds.py FOLDER    FOLDER/TARGET/NAME

Each target's file says how it reads its input. A seed that is called after a finding is its regression case.
"""
import pathlib
import sys


def number(value, size):
    return value.to_bytes(size, "big")


def u8(*values):
    return bytes(values)


def u16(value):
    return number(value, 2)


def u32(value):
    return number(value, 4)


def u64(value):
    return number(value, 8)


def encoded(value):
    return value.encode() if isinstance(value, str) else value


def text(value=""):
    """As Input::text() reads it."""
    value = encoded(value)
    return (u8(len(value)) if len(value) < 255 else u8(255) + u16(len(value))) + value


def short(value=""):
    """AMQP's short string."""
    value = encoded(value)
    return u8(len(value)) + value


def long(value=""):
    """AMQP's long string."""
    value = encoded(value)
    return u32(len(value)) + value


def frame(kind, channel, payload):
    return u8(kind) + u16(channel) + long(payload) + b"\xce"


def method(channel, number_, arguments=b""):
    return frame(1, channel, u32(number_) + arguments)


def header(channel, size, properties=u16(0)):
    return frame(2, channel, u16(60) + u16(0) + u64(size) + properties)


def nested(levels):
    value = b"V"
    for _ in range(levels):
        value = b"A" + long(value)
    return short("nested") + value


TABLE = b"".join([
    short("bool") + b"t\1",
    short("i8") + b"b\xf8",
    short("u8") + b"B\xc8",
    short("i16") + b"s" + u16(0xFFF0),
    short("u16") + b"u" + u16(60000),
    short("i32") + b"I" + u32(0xFFFFFFE0),
    short("u32") + b"i" + u32(4000000000),
    short("i64") + b"l" + u64(2**64 - 64),
    short("u64") + b"L" + u64(2**63 - 1),
    short("float") + b"f" + bytes.fromhex("3fc00000"),
    short("double") + b"d" + bytes.fromhex("c002000000000000"),
    short("decimal") + b"D\2" + u32(314),
    short("string") + b"S" + long("text"),
    short("binary") + b"x" + long(b"\0\1"),
    short("time") + b"T" + u64(1700000000),
    short("void") + b"V",
    short("array") + b"A" + long(b"I" + u32(1) + b"S" + long("two") + b"A" + long()),
    short("table") + b"F" + long(short("inner") + b"F" + long(short("innermost") + b"t\0")),
])
PROPERTIES = b"".join([
    u16(0xFFFC), short("text/plain"), short("utf-8"), long(TABLE), u8(2), u8(9), short("correlation"),
    short("reply"), short("60000"), short("id"), u64(1700000000), short("type"), short("guest"), short("app"),
    short("cluster"),
])
STAMPED = u16(0x2000) + long(short("mine") + b"I" + u32(2) + short("warren-stamp") + b"l" + u64(42))
START = u8(0, 9) + long() + long("PLAIN AMQPLAIN EXTERNAL") + long("en_US")
CAPABILITIES = short("capabilities") + b"F" + long(short("accept_consumer_cancel_ok") + b"t\1")

# What a broker says, with its arguments.
SAID = {
    "connection_close": (0x000A0032, u16(320) + short("CONNECTION_FORCED") + u32(0)),
    "connection_close_ok": (0x000A0033, b""),
    "connection_blocked": (0x000A003C, short("low on memory")),
    "connection_unblocked": (0x000A003D, b""),
    "channel_open_ok": (0x0014000B, u32(0)),
    "channel_flow": (0x00140014, u8(1)),
    "channel_close": (0x00140028, u16(404) + short("NOT_FOUND - no queue 'orders'") + u32(0x0032000A)),
    "channel_close_ok": (0x00140029, b""),
    "exchange_declare_ok": (0x0028000B, b""),
    "exchange_delete_ok": (0x00280015, b""),
    "exchange_bind_ok": (0x0028001F, b""),
    "exchange_unbind_ok": (0x00280033, b""),
    "queue_declare_ok": (0x0032000B, short("orders") + u32(7) + u32(1)),
    "queue_bind_ok": (0x00320015, b""),
    "queue_purge_ok": (0x0032001F, u32(7)),
    "queue_delete_ok": (0x00320029, u32(7)),
    "queue_unbind_ok": (0x00320033, b""),
    "basic_qos_ok": (0x003C000B, b""),
    "basic_consume_ok": (0x003C0015, short("c")),
    "basic_cancel": (0x003C001E, short("c") + u8(1)),
    "basic_cancel_ok": (0x003C001F, short("c")),
    "basic_return": (0x003C0032, u16(312) + short("NO_ROUTE") + short("shop") + short("new")),
    "basic_deliver": (0x003C003C, short("c") + u64(1) + u8(0) + short("shop") + short("new")),
    "basic_get_ok": (0x003C0047, u64(1) + u8(1) + short("shop") + short("new") + u32(3)),
    "basic_get_empty": (0x003C0048, short()),
    "basic_ack": (0x003C0050, u64(1) + u8(1)),
    "basic_nack": (0x003C0078, u64(1) + u8(3)),
    "confirm_select_ok": (0x0055000B, b""),
}


def uris():
    return {
        "plain": "amqp://guest:secret@broker.example:5672/vhost",
        "tls": "amqps://user:pass@[::1]/%2F?cacertfile=/ca.pem&certfile=/c.pem&keyfile=/k.pem&verify=verify_none",
        "parameters": "amqp://h?heartbeat=10&connection_timeout=5000&channel_max=100&auth_mechanism=external",
        "name": "amqps://h?server_name_indication=disable",
        "short": "amqp://",
        "host": "amqp://host.:1",
        "scope": "amqp://[fe80::1%25eth0]/",
        "scope_encoded": "amqp://[0::1%2525eth0]/",
        "escapes": "amqp://%00:%zz@%/%",
        "fragment": "amqp://h/v#f",
    }


def tables():
    names = {"table": b"\1" + TABLE, "nested_32": b"\1" + nested(31), "nested_33": b"\1" + nested(32),
             "array_of_ones": b"\1" + short("a") + b"A" + long(b"t\1" * 2000),
             "unknown": b"\1" + short("k") + b"?",
             "properties": b"\0" + PROPERTIES, "stamped": b"\0" + STAMPED, "none": b"\0" + u16(0),
             "more_flags": b"\0" + u16(1) + u16(0), "expiration": b"\0" + u16(0x0100) + short("4294967296")}
    for kind, size in zip("tbBsuIilLfdDT", (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 5, 8)):
        names["highest_" + str(ord(kind))] = b"\1" + short("k") + kind.encode() + b"\xff" * size
        names["cut_" + str(ord(kind))] = b"\1" + short("k") + kind.encode() + b"\0" * (size - 1)
    return names


def frames():
    names = {name: b"\0\0" + method(1, *said) for name, said in SAID.items()}
    names["message"] = (b"\0\1" + method(1, *SAID["basic_deliver"]) + header(1, 4, PROPERTIES) +
                        frame(3, 1, "body") + frame(8, 0, b""))
    names["all"] = b"\0\1" + b"".join(method(1, *said) for said in SAID.values())
    for index in range(4):
        names[f"too_long_{index}"] = u8(0, index) + u8(3) + u16(1) + u32(0xFFFFFFFF)
    names["wrong_end"] = b"\0\0" + frame(8, 0, b"")[:-1] + b"\0"
    names["methods"] = b"\1" + text("name") + text("other") + u16(7) + u64(99) + u8(5) + text("k") + text("v")
    names["long_name"] = b"\1" + text("n" * 256) + text("o") + u16(7) + u64(1)
    names["long_arguments"] = b"\1" + text("n") + text("o") + u16(7) + u64(1) + u8(0) + text("k" * 300)
    set_all = u8(1) + text("text/plain") + u8(1) + u64(60000) + u8(1, 9) + u8(1) + u64(1700000000)
    for size in (0, 1, 8184, 8185, 70000, 199999):
        names[f"content_{size}"] = (b"\2" + u16(0) + u16(100) + text("shop") + text("new") + set_all +
                                    u8(1) + text("mine") + text("v") + u8(1) + u64(42) + u32(size))
    names["large_header"] = (b"\2" + u16(4000) + u16(0) + text() + text() + u8(0, 0, 0, 0) + u8(1) +
                             text("mine") + text("v" * 9000) + u8(0) + u32(9000))
    return names


# Options of `login`: mechanism, port, TLS, all the others; then how many bytes come together, less one.
PLAIN = u8(0, 0, 0, 0)


def login():
    start, open_ok, beat = b"\2" + text(CAPABILITIES), b"\4" + text(), b"\6"
    tune = b"\3" + u16(2047) + u32(131072) + u16(60)
    names = {"whole": PLAIN + u8(255) + start + beat + tune + beat + open_ok,
             "byte_by_byte": PLAIN + u8(0) + start + tune + open_ok,
             "external": u8(1, 0, 1, 0, 255) + start + tune + open_ok,
             "options": (u8(0, 1) + u16(15672) + u8(1, 1) + text("user") + text("p" * 5000) + text("v") +
                         u16(0) + u32(0) + u16(0) + text("product") + text("mine") + u8(255) + start + tune +
                         open_ok),
             "no_limits": PLAIN + u8(255) + start + b"\3" + u16(0) + u32(0) + u16(0) + open_ok,
             "small_frames": PLAIN + u8(255) + start + b"\3" + u16(8) + u32(4096) + u16(1),
             "refused": PLAIN + u8(255) + start + b"\5" + u16(403) + text("ACCESS_REFUSED"),
             "secure": PLAIN + u8(255) + start + b"\0" + text(method(0, 0x000A0014, long("more"))),
             "blocked": PLAIN + u8(255) + start + tune + b"\7" + text("low on memory") + u8(1),
             "version": PLAIN + u8(255) + b"\1" + u8(0x80) + text() + text("PLAIN") + text("en_US"),
             "no_mechanism": PLAIN + u8(255) + b"\1" + u8(9) + text() + text("AMQPLAIN") + text("en_US"),
             "other_channel": PLAIN + u8(255) + start + b"\x08" + u8(1) + u16(1) + text(u32(0x000A001E)),
             "empty_key": PLAIN + u8(255) + b"\2" + text(short() + b"V") + tune + open_ok,
             "deep": PLAIN + u8(255) + b"\2" + text(nested(60))}
    for name, first in {"http": "HTTP/1.1 400 Bad Request\r\n", "ssh": "SSH-2.0-OpenSSH_9.2\r\n",
                        "tls": b"\x15\3\1\0\2\2F", "amqp_1": b"AMQP\0\1\0\0", "smtp": "220 mail ESMTP",
                        "huge": u8(1) + u16(0) + u32(0xFFFFFFF0)}.items():
        names[name] = PLAIN + u8(255) + b"\0" + text(first)
        names[name + "_on_a_known_port"] = u8(0, 1) + u16(15672) + u8(0, 0, 255) + b"\0" + text(first)
    for port in (80, 443, 15671, 15672, 5671, 5672, 5551, 1883, 61613, 4369):
        names[f"port_{port}"] = u8(0, 1) + u16(port) + u8(port % 2, 0, 255)
    return names


# What odd_frames() makes of a byte.
DELIVER, GET_OK, RETURN, HEADER_OF, HEADER_WITH, BODY, ACK, NACK, CLOSE, CLOSE_OK, CANCEL, GET_EMPTY, \
    DECLARE_OK, FLOW, METHOD, MESSAGE, HEARTBEAT, FRAME = range(18)


def channel():
    def says(what, tag=b"\1"):
        return u8(1) + tag + u8(what)

    def does(what, tag=1):
        return u8(0, tag, what)

    deliver = says(DELIVER) + text("c") + u8(0) + text("shop") + text("new")
    message = says(MESSAGE) + u8(0) + text(PROPERTIES) + text("body")
    get_ok = says(GET_OK) + u8(0) + text("shop") + text("new") + text("body") + u8(3)
    names = {"deliveries": deliver * 3 + does(6, 1) + u8(9) + does(6, 2) + u8(1) + does(10) + does(4, 3) + u8(1),
             "message": message + does(10) + message + does(5, 1) + u8(1, 0) + does(5, 2) + u8(0, 1),
             "no_properties": says(MESSAGE) + u8(0) + text(u16(0x2000) + long(nested(40))) + text("body"),
             "get": does(0) + get_ok + does(2) + does(0) + says(GET_EMPTY) + text() + does(2),
             "late_get": does(0) + does(0) + does(2) + get_ok + get_ok,
             "declare": does(1) + says(DECLARE_OK) + text("orders") + does(2),
             "confirms": does(3) + says(METHOD) + u32(0x0055000B) + text() + says(ACK) + u8(1) + says(NACK) + u8(3),
             "returned": says(RETURN) + text("NO_ROUTE") + text("shop") + text("new"),
             "closed": does(0) + says(CLOSE) + u16(404) + text("NOT_FOUND"),
             "closed_by_both": does(13) + says(CLOSE) + u16(404) + text("NOT_FOUND") + says(CLOSE_OK),
             "closed_by_us": deliver + does(13) + does(7) + says(CLOSE_OK),
             "given_back": deliver * 3 + does(9) + does(12, 3),
             "cancelled": deliver + says(CANCEL) + text("c") + does(14) + u8(1) + does(4, 1) + u8(0),
             "given_up": deliver + does(14) + u8(0) + deliver + says(CLOSE_OK),
             "stream": does(15) + deliver + does(5, 1) + u8(1, 1) + does(9) + does(4, 1) + u8(1),
             "ticks": deliver + does(8, 1) + does(11) + does(12, 1) + says(FLOW) + u8(1),
             "body_first": says(BODY) + text("body"),
             "two_headers": (says(METHOD) + u32(SAID["basic_deliver"][0]) + text(SAID["basic_deliver"][1]) +
                             says(HEADER_OF) + u64(5) + says(HEADER_WITH) + u8(5) + text(u16(0))),
             "parts": (says(METHOD) + u32(SAID["basic_deliver"][0]) + text(SAID["basic_deliver"][1]) +
                       says(HEADER_OF) + u64(6) + says(BODY) + text("abc") + says(BODY) + text("def")),
             "huge": (says(METHOD) + u32(SAID["basic_deliver"][0]) + text(SAID["basic_deliver"][1]) +
                      says(HEADER_OF) + u64(2**63)),
             "wrong_tag": says(DELIVER, b"\0\7") + text("c") + u8(0) + text() + text()}
    early = {name + "_before_open_ok": u8(1) + seed for name, seed in names.items()}
    return {name: u8(0) + seed for name, seed in names.items()} | early


# Options of `connection`: what it does (recovery, a name to resolve, declare, publish, consume, parking lot), how.
ALL = 0b111101
ACTIONS = {"before": 1, "after": 2, "instead": 3, "login_before": 4, "login_instead": 5, "raw": 6, "twice": 7,
           "cut": 8, "cut_after": 9, "end": 10, "silence": 11, "other_channel": 12, "flood": 13}


def connection():
    names = {"well": u8(ALL, 0, 0), "closed": u8(ALL, 0x80, 0), "by_name": u8(ALL | 2, 0, 0)}
    for how in range(1, 128, 9):
        names[f"how_{how}"] = u8(ALL, how, 0)
    for more in (1, 2, 4, 8, 16, 32, 64, 65, 96, 127):
        for policy_of in range(4):
            names[f"consume_more_{more}_{policy_of}"] = u8(17, policy_of << 3, more)
            # A link that is cut behind what is consumed: it is recovered.
            names[f"consume_cut_{more}_{policy_of}"] = u8(17, policy_of << 3, more | 32) + u8(0) * 14 + u8(9)
    # connection.start, tune, open-ok, channel.open-ok, then the first declaration's answer.
    for place in range(8):
        for name, action in ACTIONS.items():
            tag = u8(1)
            arguments = {"before": tag + u8(DELIVER) + text("c") + u8(0) + text() + text("orders"),
                         "after": tag + u8(MESSAGE) + u8(0) + text(PROPERTIES) + text("body"),
                         "instead": tag + u8(CLOSE) + u16(404) + text("NOT_FOUND - no queue 'orders'"),
                         "login_before": u8(7) + text("low on memory") + u8(1),
                         "login_instead": u8(5) + u16(320) + text("CONNECTION_FORCED"),
                         "raw": text(frame(8, 0, b"")), "flood": u8(40),
                         "other_channel": u16(9) + tag + u8(ACK) + u8(0)}.get(name, b"")
            names[f"{name}_{place}"] = u8(ALL, 0, 0) + u8(0) * place + u8(action) + arguments
    declare, publish, consume, lot = 4, 8, 16, 32
    # Findings: a delivery in place of channel.open-ok, and basic.cancel before and right behind it.
    for place in range(4, 16):
        early = {"delivery": u8(3, 1, DELIVER) + text("c") + u8(0) + text() + text("orders"),
                 "cancel": u8(1, 1, CANCEL) + text("c"), "cancel_behind": u8(2, 1, CANCEL) + text("c")}
        for name, odd in early.items():
            names[f"early_{name}_{place}"] = u8(1 | consume, 8, 0) + u8(0) * place + odd
    for name, which in {"declare": declare, "publish": publish, "consume": consume, "lot": lot}.items():
        for place in range(4, 9):
            for what, odd in {"cancel": u8(CANCEL) + text("c"), "nack": u8(NACK) + u8(1),
                              "return": u8(RETURN) + text("NO_ROUTE") + text() + text("orders"),
                              "close": u8(CLOSE) + u16(406) + text("PRECONDITION_FAILED - timeout")}.items():
                names[f"{name}_{what}_{place}"] = u8(1 | which, 8, 0) + u8(0) * place + u8(2, 1) + odd
    return names


def tls():
    # The server's options, the client's, then one action for each piece that the server sends.
    names = {"well": u8(0, 0), "tls_1_2": u8(8, 0), "large": u8(16, 0), "by_name": u8(0, 1),
             "other_host": u8(1, 0), "expired": u8(2, 0), "self_signed": u8(3, 0), "verify_none": u8(3, 6),
             "any_host": u8(1, 4), "system": u8(0, 32, 0), "no_pem": u8(0, 32, 1), "no_file": u8(0, 32, 2),
             "asked": u8(4, 0), "asked_1_2": u8(12, 0), "external": u8(4, 0x50, 0, 0),
             "name": u8(0, 9) + text("example.test"), "no_name": u8(0, 9) + text(), "nul": u8(0, 9) + text(b"a\0b"),
             "long_name": u8(0, 9) + text("n" * 300),
             "plain_peer": u8(0, 0) + u8(3) + text("220 mail ESMTP\r\n"),
             "amqp_peer": u8(0, 0) + u8(3) + text(method(0, 0x000A000A, START))}
    for certificate in range(4):
        for key in range(5):
            names[f"client_{certificate}_{key}"] = u8(4, 64, certificate, key)
    for server in (0, 8):
        for place in range(6):
            for action, arguments in {1: u16(20) + u8(7), 2: u16(20), 3: text("\x17"), 4: text("junk"), 5: b"",
                                      6: b"", 8: u8(1), 9: u8(1), 10: u8(200), 11: b""}.items():
                names[f"action_{server}_{action}_{place}"] = u8(server | 16, 0) + u8(0) * place + u8(action) + arguments
        for alert in (0, 40, 42, 43, 44, 45, 46, 47, 48, 49, 70, 71, 80, 112, 116, 120):
            names[f"alert_{server}_{alert}"] = u8(server, 0) + u8(7, 1, alert)
    return names


def policy():
    names = {f"shape_{shape}_{edge}": u8(shape) + u8(edge) * 40 for shape in range(8) for edge in range(12)}
    names["to_queue"] = u8(1) + text("orders_retry") + u8(255, 12, 5, 12, 1) + text("p") + text("x") + text("n") + \
        u8(8, 8, 1)
    return names


def retry():
    names = {}
    for step in range(10):
        for value in range(17):
            one = u8(value) + u8(4, 1) * 3
            headers = u8(29) + b"".join(u8(key) + one[:1] + u8(1) for key in range(29))
            names[f"step_{step}_{value}"] = headers + u8(255) + u8(1) * 40 + u8(3, step) + u8(1, 2, 5) * 20
    # retry-original-queue "a", retry-attempt 2, x-death with a table.
    death = u8(23, 15, 1, 16, 4) + u8(1, 14) + text("expired") + u8(2, 14) + text("orders") + u8(3, 13, 8) + \
        u8(5, 15, 1, 14) + text("new")
    names["dead_letter"] = u8(3) + u8(9, 14) + text("a") + u8(1, 8, 2) + death + u8(0) + text() + text() + u8(0, 0)
    return names


def printable():
    return {"plain": "a text", "lines": "one\r\n \ttwo\u2028three", "terminal": "\x1b[2J\x1b]0;title\x07", "c1": "\u0085\u009b",
            "marks": "\u202eright to left\u2066", "not_utf8": b"\xff\xc0\x80\xed\xa0\x80", "cut": b"\xe2\x80",
            "escaped": "\\x1b\\u202e", "delete": "\x7f", "nul": "\0"}


def write(folder):
    targets = {"channel": channel, "connection": connection, "frames": frames, "login": login, "policy": policy,
               "printable": printable, "retry": retry, "tables": tables, "tls": tls, "uri": uris}
    for target, seeds in targets.items():
        into = pathlib.Path(folder, target)
        into.mkdir(parents=True, exist_ok=True)
        for name, seed in seeds().items():
            (into / name).write_bytes(encoded(seed))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(sys.argv[1])
