#include "certificates.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>

namespace fuzz {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Issued = std::unique_ptr<X509, decltype(&X509_free)>;

void need(bool done) {
  if (!done) throw std::runtime_error("a certificate can't be made");
}

Key make_key() {
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
      EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr), EVP_PKEY_CTX_free);
  EVP_PKEY* key = nullptr;
  need(context && EVP_PKEY_keygen_init(context.get()) == 1 &&
       EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context.get(), NID_X9_62_prime256v1) == 1 &&
       EVP_PKEY_keygen(context.get(), &key) == 1);
  return {key, EVP_PKEY_free};
}

struct Kind {
  const char* name;
  const char* names;  // subjectAltName
  bool is_authority = false;
  bool is_expired = false;
};

void extend(X509* certificate, int id, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, id, value);
  need(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// From an issuer, or from itself.
Issued make(const Kind& kind, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  Issued made(X509_new(), X509_free);
  need(made && X509_set_version(made.get(), 2) == 1);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1 + static_cast<long>(kind.name[0]));
  constexpr long day = 24 * 60 * 60;
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -20 * day);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), kind.is_expired ? -10 * day : 365 * day);
  X509_NAME* subject = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(kind.name),
                             -1, -1, 0);
  need(X509_set_issuer_name(made.get(), issuer == nullptr ? subject : X509_get_subject_name(issuer)) == 1);
  need(X509_set_pubkey(made.get(), key) == 1);
  if (kind.is_authority) extend(made.get(), NID_basic_constraints, "critical,CA:TRUE");
  if (kind.names != nullptr) extend(made.get(), NID_subject_alt_name, kind.names);
  need(X509_sign(made.get(), issuer_key == nullptr ? key : issuer_key, EVP_sha256()) > 0);
  return made;
}

using File = std::unique_ptr<FILE, decltype(&std::fclose)>;

Certificate write(const std::string& stem, X509* certificate, EVP_PKEY* key) {
  Certificate files{stem + ".pem", stem + ".key"};
  const File first(std::fopen(files.certificate.c_str(), "w"), std::fclose);
  const File second(std::fopen(files.key.c_str(), "w"), std::fclose);
  need(first && PEM_write_X509(first.get(), certificate) == 1);
  need(second && PEM_write_PrivateKey(second.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return files;
}

}  // namespace

Certificates::Certificates() {
  folder = (std::filesystem::temp_directory_path() / "warren-fuzz-XXXXXX").string();
  need(::mkdtemp(folder.data()) != nullptr);
  const Key authority_key = make_key();
  const Issued authority = make({.name = "authority", .names = nullptr, .is_authority = true},
                                authority_key.get(), nullptr, nullptr);
  ca = write(folder + "/ca", authority.get(), authority_key.get());
  const Key key = make_key();
  constexpr const char* here = "DNS:localhost,IP:127.0.0.1";
  const auto issue = [&](const Kind& kind) {
    const Issued made = make(kind, key.get(), authority.get(), authority_key.get());
    return write(folder + "/" + kind.name, made.get(), key.get());
  };
  good = issue({.name = "good", .names = here});
  other_host = issue({.name = "other", .names = "DNS:example.test"});
  expired = issue({.name = "expired", .names = here, .is_expired = true});
  const Issued alone = make({.name = "self", .names = here}, key.get(), nullptr, nullptr);
  self_signed = write(folder + "/self", alone.get(), key.get());

  encrypted_key = folder + "/encrypted.key";
  const File file(std::fopen(encrypted_key.c_str(), "w"), std::fclose);
  std::string password = "secret";
  need(file && PEM_write_PrivateKey(file.get(), key.get(), EVP_aes_128_cbc(),
                                    reinterpret_cast<unsigned char*>(password.data()),
                                    static_cast<int>(password.size()), nullptr, nullptr) == 1);
  no_pem = folder + "/none.pem";
  std::ofstream(no_pem) << "this is no PEM\n";
}

Certificates::~Certificates() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace fuzz
