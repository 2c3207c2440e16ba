#pragma once
// What the tests of data/ share: folders that clean up after themselves, the text of an error, the
// golden arrays of make_golden.py.
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <invar/core/json_reader.hpp>
#include <invar/data/image.hpp>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace invar::test {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

/// An empty folder, removed at the end of its scope.
class TempFolder {
 public:
  TempFolder() {
    static std::atomic<int> count = 0;
    path_ = fs::temp_directory_path() / fmt::format("invar-test-data-{}-{}", ::getpid(), count++);
    fs::create_directories(path_);
  }
  ~TempFolder() { fs::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const fs::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  /// Writes a file, making its folders; returns its path.
  std::string write(const std::string& name, std::span<const std::uint8_t> bytes) const {
    const fs::path path = path_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path.string();
  }

 private:
  fs::path path_;
};

/// The message of the invar::Error that f throws; fails the test if it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL("expected an invar::Error");
  return {};
}

/// tests/data/golden.json and golden.bin.
class Golden {
 public:
  static const Golden& get() {
    static const Golden golden;
    return golden;
  }

  const Json& json() const { return json_; }
  Bytes bytes(const Json& entry) const {
    std::size_t size = 1;
    for (const Json& extent : entry.at("shape")) size *= extent.get<std::size_t>();
    const std::size_t offset = entry.at("offset");
    const auto* begin = reinterpret_cast<const std::uint8_t*>(bin_.data()) + offset;
    return {begin, begin + size};
  }
  /// An array [H,W,C], or [H,W] as [H,W,1].
  Image image(const Json& entry) const {
    const Json& shape = entry.at("shape");
    return {{shape[0], shape[1], shape.size() == 3 ? shape[2].get<int>() : 1}, bytes(entry)};
  }
  Image source(const std::string& name) const { return image(json_.at("sources").at(name)); }

 private:
  Golden()
      : json_(Json::parse(read_file("tests/data/golden.json"))),
        bin_(read_file("tests/data/golden.bin")) {}
  Json json_;
  std::string bin_;
};

}  // namespace invar::test
