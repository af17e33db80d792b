#pragma once

#include <string>
#include <string_view>

namespace support {

/// A certificate and its key, PEM files.
struct Certificate {
  std::string certificate{};
  std::string key{};
};

/// Certificates for a run of the tests, made with openssl's command line in a temporary folder.
class Certificates {
 public:
  /// @throws std::runtime_error  openssl failed; its own words are on stderr
  Certificates();
  ~Certificates();
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  [[nodiscard]] const std::string& ca() const noexcept { return ca_.certificate; }
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  /// Signed by ca(). `names` as in OpenSSL's subjectAltName: "DNS:localhost,IP:127.0.0.1"; empty: none.
  Certificate issue(const std::string& common_name, const std::string& names);
  /// The same, but long expired.
  Certificate issue_expired(const std::string& common_name, const std::string& names);
  /// Signed by an authority that nobody knows.
  Certificate issue_unknown(const std::string& common_name, const std::string& names);
  /// Signed by itself.
  Certificate self_signed(const std::string& common_name, const std::string& names);
  /// The same key with a password.
  std::string encrypted(const Certificate& certificate);
  /// Writes a file and returns its path.
  std::string file(const std::string& name, std::string_view content) const;

 private:
  void openssl(const std::string& arguments) const;
  Certificate authority(const std::string& name) const;
  Certificate sign(const Certificate& authority, const std::string& common_name, const std::string& names,
                   const std::string& validity);
  [[nodiscard]] std::string next();

  std::string folder_;
  int count_ = 0;
  Certificate ca_;
  Certificate unknown_ca_;
};

/// Those of this run.
Certificates& certificates();

}  // namespace support
