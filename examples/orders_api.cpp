// The HTTP front: queues orders and tasks, and answers once the broker has them.

#include <httplib.h>
#include <sys/socket.h>

#include <csignal>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include "common/order.hpp"
#include "common/program.hpp"

using namespace examples;

namespace {

struct Address {
  std::string host{};
  int port = 0;
};

// `host:port`, or `[address]:port` for IPv6.
Address parse_address(const std::string& text) {
  const auto colon = text.rfind(':');
  Address address;
  if (colon != std::string::npos) {
    address.host = text.substr(0, colon);
    const std::string port = text.substr(colon + 1);
    const bool digits =
        !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
    address.port = digits ? std::stoi(port) : 0;
    if (address.host.starts_with('[') && address.host.ends_with(']')) {
      address.host = address.host.substr(1, address.host.size() - 2);
    }
  }
  if (address.host.empty() || address.port < 1 || address.port > 65'535) {
    throw CLI::ValidationError("--listen", "'" + text + "' is not HOST:PORT");
  }
  return address;
}

void answer(httplib::Response& response, int status, const nlohmann::json& body) {
  response.status = status;
  response.set_content(body.dump(), "application/json");
}

constexpr std::size_t longest_body = 64 * 1024;

// A request with neither header has no body (RFC 9112, section 6.3).
bool has_body(const httplib::Request& request) {
  return request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
}

// Nothing where it can't be read, or is too long; that is answered.
std::optional<std::string> read_body(const httplib::Request& request, httplib::Response& response,
                                     const httplib::ContentReader& read) {
  std::string body;
  if (!has_body(request)) return body;  // httplib would wait for one
  bool fits = true;
  const bool whole = read([&](const char* data, std::size_t size) {
    fits = fits && body.size() + size <= longest_body;
    if (fits) body.append(data, size);
    return true;
  });
  if (whole && fits) return body;
  answer(response, fits ? 400 : 413, {{"detail", fits ? "the body breaks off" : "the body is above 64 KiB"}});
  return std::nullopt;
}

// The field from the query, else from a JSON body; nothing where it is missing or of a wrong kind.
std::optional<nlohmann::json> id_field(const httplib::Request& request, const std::string& content,
                                       const char* name) {
  std::string text;
  if (request.has_param(name)) {
    text = request.get_param_value(name);
  } else {
    const nlohmann::json body = nlohmann::json::parse(content, nullptr, false);
    if (!body.is_object() || !body.contains(name)) return std::nullopt;
    const nlohmann::json& value = body.at(name);
    if (value.is_number_integer()) return std::make_optional<nlohmann::json>(value);
    if (!value.is_string()) return std::nullopt;
    text = value.get<std::string>();
  }
  return is_id(text) ? std::optional(id_to_json(text)) : std::nullopt;
}

// What all requests share. A lost connection recovers by itself; one that gave up (the login is refused, say)
// is made anew by the next request.
class Link {
 public:
  Link(const BrokerOptions& options, warren::Connection connection)
      : url_(options.url), open_(std::make_shared<Open>(std::move(connection))) {}

  void publish(const char* exchange, const char* queue, const warren::Message& message) {
    current()->publisher.publish(message, {.exchange = exchange, .routing_key = queue});
  }
  bool is_open() { return current()->connection.is_open(); }

 private:
  static constexpr std::chrono::seconds timeout{10};

  struct Open {
    explicit Open(warren::Connection made)
        : connection(std::move(made)), publisher(connection, {.timeout = timeout}) {
      warren::Channel channel = connection.open_channel();
      declare_orders(channel);
      declare_tasks(channel);
    }
    warren::Connection connection;
    warren::Publisher publisher;
  };

  // Whoever publishes on the old one keeps it until then.
  std::shared_ptr<Open> current() {
    const std::lock_guard lock(mutex_);
    if (open_->connection.state() == warren::ConnectionState::failed) {
      open_ = std::make_shared<Open>(
          warren::Connection(url_, {.name = "orders api", .connect_timeout = std::chrono::seconds(5)}));
    }
    return open_;
  }

  const std::string url_;
  std::mutex mutex_;
  std::shared_ptr<Open> open_;
};

class Api {
 public:
  explicit Api(Link& link) : link_(link) {
    serve("/orders/", "order_id", [this](httplib::Response& response, const nlohmann::json& id) {
      publish(response, orders_exchange, orders_queue, order_message(id));
    });
    serve("/publish/", "item_id", [this](httplib::Response& response, const nlohmann::json& id) {
      const nlohmann::json task = {{"item_id", id}, {"action", "process"}};
      publish(response, task_exchange, task_queue, warren::Message::json(task.dump()));
    });
    server_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
      try {
        if (link_.is_open()) return answer(response, 200, {{"status", "ok"}});
      } catch (const warren::Error&) {  // it can't be made anew, either
      }
      answer(response, 503, {{"status", "no connection to the broker"}});
    });
    // httplib would set SO_REUSEPORT, and let two programs share the port unawares.
    server_.set_socket_options([](auto socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    // After such an answer httplib 0.41 reads up to five seconds for a body that is not there, and drops the
    // next request of that connection. The client is told to close it.
    server_.set_post_routing_handler([](const httplib::Request& request, httplib::Response& response) {
      if (request.method != "POST" || has_body(request) || response.has_header("Connection")) return;
      response.headers.erase("Keep-Alive");
      response.set_header("Connection", "close");
    });
    server_.set_keep_alive_timeout(1);  // an idle client holds up the end for so long
  }

  /// Serves until the stop.
  void run(const Address& address, const std::stop_token& stop) {
    const std::string name = address.host + ":" + std::to_string(address.port);
    if (!server_.bind_to_port(address.host, address.port))
      throw std::runtime_error("cannot listen on " + name);
    // httplib hears no stop() before it asks for its threads.
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
    server_.new_task_queue = [&] {
      print_error("Listening on " + name);
      on_stop.emplace(stop, [this] { server_.stop(); });
      return new httplib::ThreadPool(threads);  // NOLINT(cppcoreguidelines-owning-memory): the server's own
    };
    if (!server_.listen_after_bind() && !stop.stop_requested())
      throw std::runtime_error("cannot serve on " + name);
  }

 private:
  static constexpr std::size_t threads = 32;

  // POST with an id in the field.
  void serve(const char* path, const char* field,
             std::function<void(httplib::Response&, const nlohmann::json&)> accept) {
    server_.Post(path, [field, accept = std::move(accept)](const httplib::Request& request,
                                                           httplib::Response& response,
                                                           const httplib::ContentReader& read) {
      const auto body = read_body(request, response, read);
      if (!body) return;
      if (const auto id = id_field(request, *body, field)) return accept(response, *id);
      answer(response, 422, {{"detail", std::string(field) + " must be an integer or one line of text"}});
    });
  }

  void publish(httplib::Response& response, const char* exchange, const char* queue,
               const warren::Message& message) {
    try {
      link_.publish(exchange, queue, message);
      answer(response, 200, {{"status", "Message queued"}});
    } catch (const warren::Error& error) {
      answer(response, 503, {{"detail", error.what()}, {"in_doubt", error.in_doubt()}});
    }
  }

  Link& link_;
  httplib::Server server_;
};

}  // namespace

int main(int argc, char** argv) {
  warren::StopOnSignal stop{SIGINT, SIGTERM};
  CLI::App app{"Queues orders and tasks over HTTP", "orders_api"};
  BrokerOptions broker;
  std::string listen = "127.0.0.1:8080";
  Address address;
  add_to(app, broker);
  app.add_option("--listen", listen, "HOST:PORT to serve on")->capture_default_str();
  app.callback([&] { address = parse_address(listen); });
  return run_program(app, argc, argv, [&] {
    Link link{broker, connect(broker, "orders api", stop.token())};
    Api api{link};
    api.run(address, stop.token());
    return 0;
  });
}
