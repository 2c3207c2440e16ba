// Files: what is read is what was written, errors name path and reason, and a failed write leaves
// the old file and nothing else.
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <string>
#include <thread>
#include <vector>

using namespace invar;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

/// An empty folder that is removed with everything in it.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "invar-file-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const char* name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(path_))
      found.push_back(entry.path().filename());
    return found;
  }

 private:
  fs::path path_;
};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("A file holds what was written", "[smoke]") {
  const Folder folder;
  const fs::path path = folder / "a.bin";
  std::string contents;
  for (int i = 0; i < 300000; ++i) contents += static_cast<char>(i * 7 + i / 256);

  write_file_atomically(path, contents);
  CHECK(read_file(path) == contents);

  write_file_atomically(path, [&](FileWriter& writer) {  // pieces of all sizes, zero included
    size_t at = 0;
    for (size_t piece = 0; at < contents.size(); piece = piece * 3 + 1) {
      const size_t bytes = std::min(piece % 100000, contents.size() - at);
      writer.write(contents.data() + at, bytes);
      at += bytes;
    }
  });
  CHECK(read_file(path) == contents);

  write_file_atomically(path, "");
  CHECK(read_file(path).empty());
  CHECK(folder.names() == std::vector<std::string>{"a.bin"});
}

TEST_CASE("A reader reads pieces and knows the end") {
  const Folder folder;
  write_file_atomically(folder / "a", "0123456789");
  const FileReader file(folder / "a");
  CHECK(file.size() == 10);
  char piece[4] = {};
  file.read(3, piece, 3);
  CHECK(std::string(piece) == "345");
  file.read(10, piece, 0);
  CHECK_THROWS_AS(file.read(8, piece, 3), Error);
  CHECK_THROWS_AS(file.read(~std::uint64_t{0}, piece, 2), Error);
  CHECK_THROWS_AS(file.read(11, piece, 0), Error);

  fs::resize_file(folder / "a", 5);
  CHECK_THAT(message_of([&] { file.read(3, piece, 4); }),
             ContainsSubstring("cut while being read"));
}

TEST_CASE("Reading errors name path and reason") {
  const Folder folder;
  CHECK_THAT(message_of([&] { read_file(folder / "none"); }),
             ContainsSubstring("none', got \"No such file or directory\": look into '" +
                               folder.path().string() + "'"));
  CHECK_THAT(message_of([&] { read_file(folder / "no/none"); }),
             ContainsSubstring("the folder '" + (folder / "no").string() + "' does not exist"));
  CHECK_THAT(message_of([&] { read_file(folder.path()); }), ContainsSubstring("got the folder"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of([&] { read_file(folder / "pipe"); }), ContainsSubstring("device or pipe"));
}

TEST_CASE("A writer that throws leaves the old file and nothing else") {
  const Folder folder;
  const fs::path path = folder / "a";
  write_file_atomically(path, "old");
  CHECK_THROWS_AS(write_file_atomically(path,
                                        [](FileWriter& writer) {
                                          writer.write(std::string(200000, 'x'));
                                          throw std::runtime_error("changed my mind");
                                        }),
                  std::runtime_error);
  CHECK(read_file(path) == "old");
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("Writing errors name path and reason") {
  const Folder folder;
  CHECK_THAT(message_of([&] { write_file_atomically(folder / "no/a", "x"); }),
             ContainsSubstring("No such file or directory") &&
                 ContainsSubstring("the folder '" + (folder / "no").string() + "' does not exist"));
  CHECK_THAT(message_of([&] { write_file_atomically(folder.path(), "x"); }),
             ContainsSubstring("got the folder"));
  CHECK_THAT(message_of([&] { write_file_atomically(folder.path() / "", "x"); }),
             ContainsSubstring("expected the name of a file"));
  CHECK_THAT(message_of([&] { write_file_atomically("/dev/null", "x"); }),
             ContainsSubstring("device or pipe"));
  CHECK_THAT(message_of([&] { write_file_atomically(folder.path() / std::string(300, 'a'), "x"); }),
             ContainsSubstring("File name too long"));
  CHECK(folder.names().empty());
}

TEST_CASE("A target that cannot be replaced is named with the reason") {
  const Folder folder;
  CHECK_THAT(message_of([&] {
               write_file_atomically(folder / "a", [&](FileWriter& writer) {
                 writer.write("x");
                 fs::create_directory(folder / "a");
               });
             }),
             ContainsSubstring("Is a directory") && ContainsSubstring("the target is unchanged"));
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("A folder without write permission is an error") {
  if (::geteuid() == 0) SKIP("root may write everywhere");
  const Folder folder;
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_THAT(message_of([&] { write_file_atomically(folder / "a", "x"); }),
             ContainsSubstring("Permission denied"));
  fs::permissions(folder.path(), fs::perms::owner_all);
}

TEST_CASE("A full disk leaves the old file and nothing else") {
  const Folder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    SKIP("needs the right to mount a small file system");
  }
  std::string message, left;
  std::vector<std::string> names;
  write_file_atomically(folder / "a", "old");
  message = message_of([&] { write_file_atomically(folder / "a", std::string(1 << 20, 'x')); });
  left = read_file(folder / "a");
  names = folder.names();
  ::umount(folder.path().c_str());

  CHECK_THAT(message, ContainsSubstring("No space left on device"));
  CHECK_THAT(message, ContainsSubstring("a' is unchanged"));
  CHECK(left == "old");
  CHECK(names == std::vector<std::string>{"a"});
}

TEST_CASE("A limit on file sizes leaves the old file and nothing else") {
  // What a full disk does, for everybody: a write fails after others have succeeded.
  const Folder folder;
  write_file_atomically(folder / "a", "old");
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto previous_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100000, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string at_once =
      message_of([&] { write_file_atomically(folder / "a", std::string(1 << 20, 'x')); });
  const std::string in_pieces = message_of([&] {
    write_file_atomically(folder / "a", [](FileWriter& writer) {
      for (int i = 0; i < 1000; ++i) writer.write(std::string(1000, 'x'));
    });
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, previous_handler);

  for (const std::string& message : {at_once, in_pieces}) {
    CHECK_THAT(message, ContainsSubstring("File too large\" after 100000 bytes"));
    CHECK_THAT(message, ContainsSubstring("a' is unchanged"));
  }
  CHECK(read_file(folder / "a") == "old");
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("Replacing keeps permissions and follows links") {
  const Folder folder;
  write_file_atomically(folder / "a", "old");
  fs::permissions(folder / "a", fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("a", folder / "link");
  fs::create_symlink("nowhere", folder / "dangling");
  write_file_atomically(folder / "link", "new");
  write_file_atomically(folder / "dangling", "first");
  CHECK(read_file(folder / "a") == "new");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(fs::status(folder / "a").permissions() == (fs::perms::owner_read | fs::perms::owner_write));
  CHECK(read_file(folder / "dangling") == "first");
  CHECK(fs::is_symlink(folder / "dangling"));
  CHECK(read_file(folder / "nowhere") == "first");
  fs::create_directory(folder / "sub");
  fs::create_symlink(fs::path("..") / "link", folder / "sub" / "chain");
  write_file_atomically(folder / "sub" / "chain", "through two");
  CHECK(read_file(folder / "a") == "through two");
  fs::create_symlink("circle", folder / "circle");
  CHECK_THROWS_AS(write_file_atomically(folder / "circle", "x"), Error);
  CHECK(fs::is_symlink(folder / "circle"));
}

TEST_CASE("Leftovers of killed writers are removed, and nothing else") {
  const Folder folder;
  const auto touch = [&](const std::string& name) {
    write_file_atomically(folder / name.c_str(), "x");
  };
  for (const char* left : {"a.tmp-71-0", "a.tmp-1-1234567", "b.tmp-71-0"}) touch(left);
  for (const char* other : {"a", "a.tmp", "a.tmp-71", "a.tmp--0", "a.tmp-71-", "a.tmp-71-x",
                            "a.tmp-71-0.txt", "aa.tmp-71-0", ".tmp-71-0"}) {
    touch(other);
  }
  fs::create_directory(folder / "a.tmp-9-9");  // nothing of ours is a folder
  const auto before = folder.names();
  remove_leftovers(folder.path(), [](std::string_view name) { return name == "a" || name == "b"; });
  CHECK(folder.names().size() == before.size() - 3);
  for (const char* left : {"a.tmp-71-0", "a.tmp-1-1234567", "b.tmp-71-0"}) {
    CHECK_FALSE(fs::exists(folder / left));
  }
  remove_leftovers(folder / "no such folder", [](std::string_view) { return true; });
}

TEST_CASE("A temporary file left by a process with our id is no obstacle") {
  const Folder folder;
  // Whatever number comes next, it is taken.
  for (int i = 0; i < 2000; ++i) {
    std::ofstream(folder / fmt::format("a.tmp-{}-{}", ::getpid(), i).c_str()) << "left behind";
  }
  write_file_atomically(folder / "a", "new");
  CHECK(read_file(folder / "a") == "new");
}

TEST_CASE("Several threads replace one file and readers see a complete one") {
  const Folder folder;
  const fs::path path = folder / "a";
  write_file_atomically(path, std::string(1000, '0'));
  std::vector<std::thread> writers;
  for (char c : {'1', '2', '3'}) {
    writers.emplace_back([&path, c] {
      for (int i = 0; i < 20; ++i) write_file_atomically(path, std::string(1000, c));
    });
  }
  bool complete = true;
  for (int i = 0; i < 200; ++i) {
    const std::string contents = read_file(path);
    complete &= contents == std::string(1000, contents[0]);
  }
  for (std::thread& writer : writers) writer.join();
  CHECK(complete);
  CHECK(folder.names() == std::vector<std::string>{"a"});
}
