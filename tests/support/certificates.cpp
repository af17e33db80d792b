#include "support/certificates.hpp"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace support {
namespace {

constexpr const char* valid = "-startdate 20200101000000Z -enddate 20991231235959Z";
constexpr const char* expired = "-startdate 20200101000000Z -enddate 20210101000000Z";

std::string subject(const std::string& common_name) { return "-subj '/CN=" + common_name + "'"; }

}  // namespace

Certificates::Certificates() {
  std::string pattern = (std::filesystem::temp_directory_path() / "warren-certificates-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("can't make the folder " + pattern);
  folder_ = pattern;
  // `openssl ca`, since `openssl x509` could not set the dates before 3.4.
  file("ca.cnf",
       "[ca]\ndefault_ca = test\n[test]\ndir = " + folder_ + "\ndatabase = " + folder_ +
           "/index.txt\nnew_certs_dir = " + folder_ +
           "\nrand_serial = yes\ndefault_md = sha256\npolicy = any\nunique_subject = no\nemail_in_dn = no\n"
           "[any]\ncommonName = supplied\n[req]\ndistinguished_name = name\n[name]\n");
  file("index.txt", "");
  ca_ = authority("Test authority");
  unknown_ca_ = authority("Unknown authority");
}

Certificates::~Certificates() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string Certificates::file(const std::string& name, std::string_view content) const {
  const std::string path = folder_ + "/" + name;
  std::ofstream out(path, std::ios::binary);
  out << content;
  if (!out.flush()) throw std::runtime_error("can't write " + path);
  return path;
}

void Certificates::openssl(const std::string& arguments) const {
  const std::string log = folder_ + "/log";
  const std::string command = "openssl " + arguments + " < /dev/null > " + log + " 2>&1";
  if (::system(command.c_str()) == 0) return;
  std::ifstream words(log);
  throw std::runtime_error(command + ": " + std::string(std::istreambuf_iterator<char>(words), {}));
}

std::string Certificates::next() { return folder_ + "/" + std::to_string(++count_); }

Certificate Certificates::authority(const std::string& name) const {
  std::string stem = folder_ + "/" + name;
  for (char& c : stem) c = c == ' ' ? '-' : c;
  Certificate result{stem + ".pem", stem + ".key"};
  openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 " + subject(name) +
          " -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout " +
          result.key + " -out " + result.certificate);
  return result;
}

Certificate Certificates::sign(const Certificate& authority, const std::string& common_name,
                               const std::string& names, const std::string& validity) {
  const std::string stem = next();
  Certificate result{stem + ".pem", stem + ".key"};
  openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes " + subject(common_name) +
          " -keyout " + result.key + " -out " + stem + ".csr");
  std::string extensions = "extendedKeyUsage = serverAuth,clientAuth\n";
  if (!names.empty()) extensions += "subjectAltName = " + names + "\n";
  file("extensions", extensions);
  openssl("ca -batch -notext -config " + folder_ + "/ca.cnf -extfile " + folder_ + "/extensions -cert " +
          authority.certificate + " -keyfile " + authority.key + " " + validity + " -in " + stem +
          ".csr -out " + result.certificate);
  return result;
}

Certificate Certificates::issue(const std::string& common_name, const std::string& names) {
  return sign(ca_, common_name, names, valid);
}

Certificate Certificates::issue_expired(const std::string& common_name, const std::string& names) {
  return sign(ca_, common_name, names, expired);
}

Certificate Certificates::issue_unknown(const std::string& common_name, const std::string& names) {
  return sign(unknown_ca_, common_name, names, valid);
}

Certificate Certificates::self_signed(const std::string& common_name, const std::string& names) {
  const std::string stem = next();
  Certificate result{stem + ".pem", stem + ".key"};
  openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -sha256 " +
          subject(common_name) + " -addext subjectAltName=" + names + " -keyout " + result.key + " -out " +
          result.certificate);
  return result;
}

std::string Certificates::encrypted(const Certificate& certificate) {
  std::string path = next() + ".key";
  openssl("pkey -aes256 -passout pass:secret -in " + certificate.key + " -out " + path);
  return path;
}

Certificates& certificates() {
  static Certificates made;
  return made;
}

}  // namespace support
