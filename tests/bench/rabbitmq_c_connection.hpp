#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#if __has_include(<rabbitmq-c/ssl_socket.h>)
#include <rabbitmq-c/ssl_socket.h>
#define BENCH_HAS_TLS
#endif
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#if __has_include(<amqp_ssl_socket.h>)
#include <amqp_ssl_socket.h>
#define BENCH_HAS_TLS
#endif
#endif

#include <chrono>
#include <string>

#include <warren/uri.hpp>

namespace bench::rabbitmq_c {

/// Throws what the status or the answer says, unless it is none.
void check(int status, const char* what);
void check(const amqp_rpc_reply_t& reply, const char* what);

/// A frame that nobody waits for: the broker's close, a nack, a return.
[[noreturn]] void unexpected(const amqp_frame_t& frame);

[[nodiscard]] inline amqp_bytes_t bytes_of(const std::string& text) {
  amqp_bytes_t bytes{};
  bytes.len = text.size();
  bytes.bytes = const_cast<char*>(text.data());
  return bytes;
}

/// A connection with channel 1 open. One thread uses it.
class Connection {
 public:
  Connection(const warren::Endpoint& endpoint, std::chrono::seconds heartbeat);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  static constexpr amqp_channel_t channel = 1;
  [[nodiscard]] amqp_connection_state_t state() const { return state_; }
  /// Throws where the last synchronous call failed.
  void check_reply(const char* what) const { check(amqp_get_rpc_reply(state_), what); }
  /// Lets go of the memory of the frames that were taken. Without it, it grows.
  void release() { amqp_maybe_release_buffers_on_channel(state_, channel); }
  /// The next frame. Waits for it.
  void next(amqp_frame_t& frame);
  /// The same, where there is one already.
  [[nodiscard]] bool poll(amqp_frame_t& frame);

 private:
  amqp_connection_state_t state_;
};

}  // namespace bench::rabbitmq_c
