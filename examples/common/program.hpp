#pragma once

// What every example program shares: its connection, its way to stop, its lines.

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <warren/warren.hpp>

namespace examples {

/// How to reach the broker: --url, else AMQP_URL, else the local one.
struct BrokerOptions {
  std::string url{};
  double connect_timeout = 30;  ///< seconds
};

void add_to(CLI::App& app, BrokerOptions& options);

/// As CLI::Range, which lets "nan" pass.
CLI::Validator between(double low, double high);
std::chrono::milliseconds to_milliseconds(double seconds);

/// Ends the program with 0: nothing has begun yet that would have to be drained.
struct Stopped {};

/// Connects, and tries on while the broker can't be reached, until the timeout; what is lost later recovers
/// by itself.
/// @throws Stopped                  a stop was requested before it was connected
/// @throws warren::ConnectionError  where trying again can't help
/// @throws std::runtime_error       the time is up
warren::Connection connect(const BrokerOptions& options, const std::string& name,
                           const std::stop_token& stop);

/// One line on standard output or standard error, in one piece, at once. Where standard output fails, the
/// program ends as if killed: it must not go on to do what it can't tell. Control characters in it are
/// escaped.
void print_line(const std::string& line);
void print_error(const std::string& line);

/// Parses the arguments, runs `body` and turns what it throws into one line. What main returns: 0, 1 for an
/// error, 2 for bad arguments.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

}  // namespace examples
