#include "rabbitmq_c_connection.hpp"

#include <stdexcept>

namespace bench::rabbitmq_c {
namespace {

constexpr int channel_max = 2'047;
constexpr int frame_max = 131'072;

std::string text_of(const amqp_bytes_t& bytes) { return {static_cast<const char*>(bytes.bytes), bytes.len}; }

std::string text_of_close(amqp_method_number_t id, const void* decoded) {
  if (id == AMQP_CONNECTION_CLOSE_METHOD) {
    return text_of(static_cast<const amqp_connection_close_t*>(decoded)->reply_text);
  }
  if (id == AMQP_CHANNEL_CLOSE_METHOD) {
    return text_of(static_cast<const amqp_channel_close_t*>(decoded)->reply_text);
  }
  const char* name = amqp_method_name(id);
  return std::string("unexpected ") + (name == nullptr ? "method" : name);
}

amqp_socket_t* new_socket(amqp_connection_state_t state, const warren::Endpoint& endpoint) {
  if (!endpoint.tls) return amqp_tcp_socket_new(state);
#ifdef BENCH_HAS_TLS
  const warren::TlsOptions& tls = *endpoint.tls;
  amqp_socket_t* socket = amqp_ssl_socket_new(state);
  if (socket == nullptr) return nullptr;
  amqp_ssl_socket_set_verify_peer(socket, tls.verify_peer ? 1 : 0);
  amqp_ssl_socket_set_verify_hostname(socket, tls.verify_host ? 1 : 0);
  amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
  if (!tls.ca_file.empty()) check(amqp_ssl_socket_set_cacert(socket, tls.ca_file.c_str()), "the CA file");
  if (!tls.certificate_file.empty()) {
    check(amqp_ssl_socket_set_key(socket, tls.certificate_file.c_str(), tls.key_file.c_str()),
          "the certificate");
  }
  return socket;
#else
  throw std::runtime_error("this rabbitmq-c has no TLS");
#endif
}

}  // namespace

void check(int status, const char* what) {
  if (status != AMQP_STATUS_OK)
    throw std::runtime_error(std::string(what) + ": " + amqp_error_string2(status));
}

void check(const amqp_rpc_reply_t& reply, const char* what) {
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) check(reply.library_error, what);
  if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION) {
    throw std::runtime_error(std::string(what) + ": " + text_of_close(reply.reply.id, reply.reply.decoded));
  }
}

void unexpected(const amqp_frame_t& frame) {
  if (frame.frame_type != AMQP_FRAME_METHOD) throw std::runtime_error("an unexpected frame");
  throw std::runtime_error(text_of_close(frame.payload.method.id, frame.payload.method.decoded));
}

Connection::Connection(const warren::Endpoint& endpoint, std::chrono::seconds heartbeat)
    : state_(amqp_new_connection()) {
  try {
    amqp_socket_t* socket = new_socket(state_, endpoint);
    if (socket == nullptr) throw std::bad_alloc();
    check(amqp_socket_open(socket, endpoint.host.c_str(), endpoint.effective_port()), "connect");
    check(amqp_login(state_, endpoint.vhost.c_str(), channel_max, frame_max,
                     static_cast<int>(heartbeat.count()), AMQP_SASL_METHOD_PLAIN, endpoint.user.c_str(),
                     endpoint.password.c_str()),
          "log in");
    amqp_channel_open(state_, channel);
    check_reply("open a channel");
  } catch (...) {
    amqp_destroy_connection(state_);
    throw;
  }
}

Connection::~Connection() {
  amqp_connection_close(state_, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(state_);
}

void Connection::next(amqp_frame_t& frame) {
  check(amqp_simple_wait_frame(state_, &frame), "wait for a frame");
}

bool Connection::poll(amqp_frame_t& frame) {
  const timeval now{};
  const int status = amqp_simple_wait_frame_noblock(state_, &frame, &now);
  if (status == AMQP_STATUS_TIMEOUT) return false;
  check(status, "look for a frame");
  return true;
}

}  // namespace bench::rabbitmq_c
