#include <warren/warren.hpp>

#include <atomic>
#include <mutex>
#include <thread>

#include "support/broker.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/proxy.hpp"
#include "support/thrown.hpp"
#include "support/tls_broker.hpp"
#include "support/tls_relay.hpp"
#include "wire/transport.hpp"

using namespace support;
using warren::Connection;
using warren::Message;
using warren::wire::Transport;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

// Publishes from some threads while a consumer takes what arrives; each must come once, byte for byte.
void exchange(const warren::Endpoint& endpoint, std::size_t messages, std::size_t size,
              std::chrono::seconds within) {
  Connection connection{endpoint, test_options()};
  warren::Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
  warren::Publisher publisher{connection, {.routing_key = queue, .timeout = within}};
  warren::Consumer consumer{connection, queue, {.prefetch = 256}};

  constexpr std::size_t seeds = 16;
  std::vector<std::string> bodies;
  for (std::size_t seed = 0; seed < seeds; ++seed) bodies.push_back(body_of(size, seed));
  std::vector<std::atomic<int>> seen(messages);
  std::atomic<std::size_t> right{0};
  consumer.start([&](const warren::Delivery& delivery) {
    const std::size_t number = std::stoul(delivery.properties().message_id.value());
    if (++seen.at(number) == 1 && delivery.body() == bodies[number % seeds]) ++right;
  });

  constexpr std::size_t threads = 4;
  std::mutex mutex;
  std::string failures;
  {
    std::vector<std::jthread> publishers;
    for (std::size_t thread = 0; thread < threads; ++thread) {
      publishers.emplace_back([&, thread] {
        try {
          for (std::size_t i = thread; i < messages; i += threads) {
            Message message(bodies[i % seeds]);
            message.properties().message_id = std::to_string(i);
            (void)publisher.publish_async(message);
          }
        } catch (const warren::Error& error) {
          const std::lock_guard lock(mutex);
          failures += error.what() + std::string("; ");
        }
      });
    }
  }
  REQUIRE(failures == "");
  REQUIRE_NOTHROW(publisher.flush(within));
  REQUIRE(eventually([&] { return right == messages; }, within));
  CHECK(eventually([&] { return consumer.status().acked == messages; }));
  consumer.stop();
}

}  // namespace

TEST_CASE("a hundred thousand messages are confirmed and consumed over TLS", "[tls]") {
  exchange(tls_broker().tls_endpoint(), 100'000, 100, 240s);
}

TEST_CASE("large bodies come back byte for byte over TLS", "[tls]") {
  SECTION("200 KB") { exchange(tls_broker().tls_endpoint(), 500, 200'000, 120s); }
  SECTION("16 MiB") { exchange(tls_broker().tls_endpoint(), 8, 16 * mebibyte, 120s); }
}

TEST_CASE("a renegotiation in the middle of traffic in TLS 1.2 loses nothing", "[tls]") {
  // The broker asks for one each 200 records.
  const TlsBroker broker(", {versions, ['tlsv1.2']}, {renegotiate_at, 200}");
  exchange(broker.tls_endpoint(), 20'000, 100, 120s);
  exchange(broker.tls_endpoint(), 200, 200'000, 120s);
}

TEST_CASE("new keys in the middle of traffic in TLS 1.3 lose nothing", "[tls]") {
  TlsRelay relay(certificates().issue("relay", "DNS:localhost"), shared_broker().endpoint());
  relay.change_keys_every(10'000);
  exchange(relay.endpoint(), 20'000, 100, 120s);
  const int changed = relay.keys_changed_by_client();
  CHECK(changed > 50);
  exchange(relay.endpoint(), 200, 200'000, 120s);
  CHECK(relay.keys_changed_by_client() > changed + 50);
}

TEST_CASE("a peer that asks for new keys without end, and reads no answer, breaks the protocol", "[tls]") {
  TlsRelay relay(certificates().issue("relay", "DNS:localhost"), shared_broker().endpoint());
  Connection connection{relay.endpoint(), test_options()};
  warren::Channel channel = connection.open_channel();
  relay.flood_keys();
  REQUIRE(eventually([&] { return !connection.is_open(); }));
  const auto error = thrown<warren::ConnectionError>([&] { channel.declare_queue("", {.exclusive = true}); });
  CHECK(error.text().find("the broker broke the protocol: TLS") != std::string::npos);
  CHECK_FALSE(error.permanent());
}

TEST_CASE("TLS's own farewell ends the connection at once, though TCP stays and no poll shows it", "[tls]") {
  TlsRelay relay(certificates().issue("relay", "DNS:localhost"), shared_broker().endpoint());
  Connection connection{relay.endpoint(), test_options()};
  relay.say_close();
  CHECK(eventually([&] { return !connection.is_open(); }, slack));
}

TEST_CASE("a TLS connection that is cut raises no SIGPIPE, and ends with an error at once", "[tls]") {
  const auto how = GENERATE(Proxy::End::reset, Proxy::End::fin);
  SECTION("to the transport") {
    Proxy proxy(tls_broker().tls_endpoint("127.0.0.1"));
    const auto transport = Transport::connect(proxy.endpoint(), {});
    proxy.cut(how);
    const std::string text(1'000, 'x');
    const std::string_view some = text;
    CHECK(eventually([&] { return transport->write({&some, 1}).status == Transport::Status::closed; }));
    char buffer[100];
    CHECK(eventually(
        [&] { return transport->read(buffer, sizeof buffer).status == Transport::Status::closed; }));
    CHECK(transport->write({&some, 1}).status == Transport::Status::closed);
  }
  SECTION("to the callers") {
    Proxy proxy(tls_broker().tls_endpoint("127.0.0.1"));
    Connection connection{proxy.endpoint(), test_options()};
    warren::Channel channel = connection.open_channel();
    CHECK(time_of([&] {
            proxy.cut(how);
            thrown<warren::ConnectionError>([&] {
              for (;;) channel.declare_queue("", {.exclusive = true});
            });
          }) < 2 * slack);
  }
}

TEST_CASE("close() over a TLS link that swallows everything ends by its deadline", "[tls]") {
  Proxy proxy(tls_broker().tls_endpoint("127.0.0.1"));
  warren::ConnectionOptions options = test_options();
  options.close_timeout = 500ms;
  Connection connection{proxy.endpoint(), options};
  warren::Publisher publisher{connection,
                              {.routing_key = "none", .window_bytes = 256 * mebibyte, .timeout = 1s}};
  proxy.stall();
  // More than the kernels take: a write is half done.
  const std::string body = body_of(mebibyte, 1);
  thrown<warren::TimeoutError>([&] {
    for (;;) (void)publisher.publish_async(Message(body));
  });
  CHECK(time_of([&] { connection.close(); }) < 500ms + slack);
}

TEST_CASE("a TLS write that would block goes on where it stood once there is room", "[tls]") {
  Proxy proxy(tls_broker().tls_endpoint("127.0.0.1"));
  warren::ConnectionOptions options = test_options();
  options.outbox_bytes = 64 * mebibyte;
  Connection connection{proxy.endpoint(), options};
  warren::Channel channel = connection.open_channel();
  const std::string queue = channel.declare_queue("", {.exclusive = true}).name();
  warren::Publisher publisher{connection, {.routing_key = queue, .window_bytes = 64 * mebibyte}};
  for (int round = 0; round < 3; ++round) {
    proxy.stall(Direction::to_broker);
    const std::string body = body_of(mebibyte, static_cast<std::uint64_t>(round));
    for (int i = 0; i < 16; ++i) (void)publisher.publish_async(Message(body));
    proxy.resume();
    CHECK_NOTHROW(publisher.flush(60s));
    for (int i = 0; i < 16; ++i) {
      const auto delivery = channel.get_no_ack(queue);
      REQUIRE(delivery.has_value());
      CHECK((delivery->body() == body));
    }
  }
}

TEST_CASE("what TLS could not send yet is polled for, though there is no more output", "[tls]") {
  Proxy proxy(tls_broker().tls_endpoint("127.0.0.1"));
  const auto transport = Transport::connect(proxy.endpoint(), {});
  proxy.stall(Direction::to_broker);
  std::string heartbeats;
  while (heartbeats.size() < 64 * 1024) heartbeats.append("\x08\0\0\0\0\0\0\xCE", 8);
  const std::string_view chunk = heartbeats;
  Transport::Result result;
  do {
    result = transport->write({&chunk, 1});
  } while (result.status == Transport::Status::ok);
  REQUIRE(result.status == Transport::Status::would_block);
  CHECK(transport->wants_write(false));
  proxy.resume();
  char buffer[100];
  CHECK(eventually([&] {
    CHECK(transport->read(buffer, sizeof buffer).status == Transport::Status::would_block);
    return !transport->wants_write(false);
  }));
}
