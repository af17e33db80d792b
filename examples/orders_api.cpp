// The HTTP front: queues orders and tasks, and answers once the broker has them.

#include <httplib.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>

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

// The field from the query, else from a JSON body; nothing where it is missing or of a wrong kind.
std::optional<std::string> field(const httplib::Request& request, const char* name) {
  if (request.has_param(name)) {
    const std::string value = request.get_param_value(name);
    return value.empty() ? std::nullopt : std::optional(value);
  }
  const nlohmann::json body = nlohmann::json::parse(request.body, nullptr, false);
  if (!body.is_object() || !body.contains(name)) return std::nullopt;
  const nlohmann::json& value = body.at(name);
  if (value.is_number_integer()) return value.dump();
  if (value.is_string() && !value.get<std::string>().empty()) return value.get<std::string>();
  return std::nullopt;
}

class Api {
 public:
  explicit Api(warren::Connection& connection)
      : connection_(connection), publisher_(connection, {.timeout = timeout}) {
    server_.Post("/orders/", [this](const httplib::Request& request, httplib::Response& response) {
      if (const auto id = field(request, "order_id")) {
        publish(response, orders_exchange, orders_queue, order_message(*id));
      } else {
        answer(response, 422, {{"detail", "order_id must be an integer or a text that is not empty"}});
      }
    });
    server_.Post("/publish/", [this](const httplib::Request& request, httplib::Response& response) {
      if (const auto id = field(request, "item_id")) {
        const nlohmann::json task = {{"item_id", id_to_json(*id)}, {"action", "process"}};
        publish(response, task_exchange, task_queue, warren::Message::json(task.dump()));
      } else {
        answer(response, 422, {{"detail", "item_id must be an integer or a text that is not empty"}});
      }
    });
    server_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
      const bool open = connection_.is_open();
      answer(response, open ? 200 : 503, {{"status", open ? "ok" : "no connection to the broker"}});
    });
  }

  /// Serves until the stop.
  void run(const Address& address, const std::stop_token& stop) {
    if (!server_.bind_to_port(address.host, address.port)) {
      throw std::runtime_error("cannot listen on " + address.host + ":" + std::to_string(address.port));
    }
    print_error("Listening on " + address.host + ":" + std::to_string(address.port));
    std::atomic<bool> ended = false;
    std::thread stopper([&] {
      while (!stop.stop_requested() && !ended) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      server_.stop();
    });
    server_.listen_after_bind();
    ended = true;
    stopper.join();
  }

 private:
  static constexpr std::chrono::seconds timeout{10};

  void publish(httplib::Response& response, const char* exchange, const char* queue,
               const warren::Message& message) {
    try {
      publisher_.publish(message, {.exchange = exchange, .routing_key = queue});
      answer(response, 200, {{"status", "Message queued"}});
    } catch (const warren::Error& error) {
      answer(response, 503, {{"detail", error.what()}, {"in_doubt", error.in_doubt()}});
    }
  }

  warren::Connection& connection_;
  warren::Publisher publisher_;  // shared by all requests
  httplib::Server server_;
};

}  // namespace

int main(int argc, char** argv) {
  StopOnSignal stop;
  CLI::App app{"Queues orders and tasks over HTTP", "orders_api"};
  BrokerOptions broker;
  std::string listen = "127.0.0.1:8080";
  Address address;
  add_to(app, broker);
  app.add_option("--listen", listen, "HOST:PORT to serve on")->capture_default_str();
  app.callback([&] { address = parse_address(listen); });
  return run_program(app, argc, argv, [&] {
    warren::Connection connection = connect(broker, "orders api", stop.token());
    {
      warren::Channel channel = connection.open_channel();
      declare_orders(channel);
      declare_tasks(channel);
    }
    Api api{connection};
    api.run(address, stop.token());
    return 0;
  });
}
