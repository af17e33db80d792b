#pragma once

#include <string>

namespace fuzz {

/// A certificate and its key, PEM files.
struct Certificate {
  std::string certificate{};
  std::string key{};
};

/// Certificates for a run of a fuzzer, made in this process: an OSS-Fuzz image has no openssl program.
struct Certificates {
  Certificates();
  ~Certificates();
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  std::string folder;
  Certificate ca;
  Certificate good;         ///< for localhost and 127.0.0.1, from `ca`
  Certificate other_host;   ///< for example.test, from `ca`
  Certificate expired;      ///< as `good`, long ago
  Certificate self_signed;  ///< as `good`, from nobody
  std::string encrypted_key;
  std::string no_pem;
};

}  // namespace fuzz
