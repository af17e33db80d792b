#include <warren/message.hpp>

namespace warren::inline v0 {

Message Message::json(std::string text) {
  return Message(std::move(text), {.content_type = "application/json"});
}

Message Message::text(std::string text) {
  return Message(std::move(text), {.content_type = "text/plain; charset=utf-8"});
}

}  // namespace warren::inline v0
