#include "wire/status.hpp"

#include "wire/transport.hpp"

namespace warren::inline v0::wire {
namespace {

[[noreturn]] void fail(const std::string& operation, std::uint16_t code, std::string text, bool permanent) {
  throw ConnectionError({.operation = operation,
                         .code = code,
                         .text = std::move(text),
                         .scope = ErrorScope::connection,
                         .permanent = permanent});
}

bool is_permanent_status(int status) {
  return status == AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION ||
         status == AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD || status == AMQP_STATUS_INVALID_PARAMETER;
}

}  // namespace

// 403: credentials; 530: virtual host; 402: path; 503: unknown exchange type; 540: not for this kind of
// queue. 320 (forced close) and most of 541 (internal error) pass with time, but not a feature that the
// broker denies. So does a limit (530 too) of connections or channels: the broker may still count the ones
// that were just lost.
bool is_permanent_close(std::uint16_t code, std::string_view text) noexcept {
  const auto says = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
  if (code == 541) return says("deprecated") || says("not permitted");
  if (code == 530) return !says("limit (") && !says("reached the maximum");
  return code == 402 || code == 403 || code == 503 || code == 540;
}

bool is_node_down(std::uint16_t code, std::string_view text) noexcept {
  return code == 404 && text.find("down or inaccessible") != std::string_view::npos;
}

[[noreturn]] void fail_closed(const amqp_connection_close_t& close, const std::string& operation) {
  const std::string_view text = to_view(close.reply_text);
  fail(operation, close.reply_code, std::string(text), is_permanent_close(close.reply_code, text));
}

void check_status(int status, const std::string& operation) {
  if (status < 0) fail(operation, 0, amqp_error_string2(status), is_permanent_status(status));
}

void check_reply(const amqp_rpc_reply_t& reply, const std::string& operation) {
  switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
      return;
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
      check_status(reply.library_error, operation);
      break;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
      if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const auto& close = *static_cast<const amqp_connection_close_t*>(reply.reply.decoded);
        fail_closed(close, operation);
      }
      break;
    case AMQP_RESPONSE_NONE:
      break;
  }
  fail(operation, 0, "the broker answered out of turn", false);
}

}  // namespace warren::inline v0::wire
