#pragma once

#include <string>
#include <utility>

#include <warren/warren.hpp>

#include "faults/watch.hpp"
#include "support/broker.hpp"
#include "support/proxy.hpp"

namespace faults {

/// A connection to cut, and one beside it that is not.
struct Cuttable {
  support::Proxy proxy{support::shared_broker().endpoint()};
  Watch watch;
  warren::Connection connection;
  warren::Channel channel = connection.open_channel();
  warren::Connection untouched{support::shared_broker().endpoint(), recovering_options()};
  warren::Channel beside = untouched.open_channel();

  explicit Cuttable(warren::ConnectionOptions options = recovering_options())
      : connection(proxy.endpoint(), watch.options(std::move(options))) {}
};

/// The same with a queue, which is declared over the connection to cut, and removed over the other one.
struct CuttableQueue : Cuttable {
  warren::Queue queue;

  explicit CuttableQueue(const std::string& prefix, warren::ConnectionOptions options = recovering_options())
      : Cuttable(std::move(options)), queue(channel.declare_queue(support::unique_name(prefix))) {}
  ~CuttableQueue() {
    try {
      beside.declare_queue(queue.name()).remove();
    } catch (const warren::Error&) {  // the test removed it
    }
  }
  CuttableQueue(const CuttableQueue&) = delete;
  CuttableQueue& operator=(const CuttableQueue&) = delete;
};

}  // namespace faults
