#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <invar/core/error.hpp>
#include <invar/core/file.hpp>
#include <optional>
#include <system_error>
#include <utility>

namespace invar {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kTemporary = ".tmp-";
constexpr std::size_t kBufferBytes = 1 << 16;
constexpr std::size_t kLargestCall = 1 << 30;  // Linux transfers at most 2^31 - 4096 bytes per call

std::string reason(int error) { return std::generic_category().message(error); }

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// Where to look when the system says "No such file or directory".
std::string missing_hint(const fs::path& path) {
  const fs::path folder = folder_of(path);
  std::error_code ignored;
  if (fs::exists(folder, ignored)) return fmt::format("look into '{}'", folder.string());
  return fmt::format("the folder '{}' does not exist", folder.string());
}

/// "a" of "a.tmp-71-0"; nullopt if that is not the name of a temporary file.
std::optional<std::string_view> target_of(std::string_view name) {
  const std::size_t mark = name.rfind(kTemporary);
  if (mark == std::string_view::npos) return std::nullopt;
  const std::string_view numbers = name.substr(mark + kTemporary.size());
  const std::size_t dash = numbers.find('-');
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (dash == std::string_view::npos || !is_number(numbers.substr(0, dash)) ||
      !is_number(numbers.substr(dash + 1))) {
    return std::nullopt;
  }
  return name.substr(0, mark);
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
  int descriptor;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

/// Flushes the folder of a file that was renamed, so that its new name survives a power failure.
void sync_folder_of(const fs::path& target) {
  const fs::path folder = folder_of(target);
  const Descriptor descriptor(open_retrying(folder, O_RDONLY | O_DIRECTORY));
  // EACCES: one may write into the folder, but not open it. EINVAL: a file system that cannot flush
  // folders. There is nothing more that can be done.
  const bool synced =
      descriptor.get() >= 0 ? ::fsync(descriptor.get()) == 0 || errno == EINVAL : errno == EACCES;
  check(synced, "write_file",
        "expected to flush the folder '{}', got \"{}\": '{}' is written, but a power failure now "
        "could lose it",
        folder.string(), reason(errno), target.string());
}

/// Removes the temporary file unless it was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(fs::path path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!renamed_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void rename_to(const fs::path& target) {
    const int result = ::rename(path_.c_str(), target.c_str());  // before errno is read
    check(result == 0, "write_file",
          "expected to rename '{}' to '{}', got \"{}\": the target is unchanged", path_.string(),
          target.string(), reason(errno));
    renamed_ = true;
  }

 private:
  fs::path path_;
  bool renamed_ = false;
};

}  // namespace

FileReader::FileReader(fs::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
  Descriptor descriptor(open_retrying(path_, O_RDONLY | O_NONBLOCK));
  if (descriptor.get() < 0) {
    const int error = errno;
    fail("read_file", "expected to read '{}', got \"{}\"{}", path_.string(), reason(error),
         error == ENOENT ? ": " + missing_hint(path_) : "");
  }
  struct stat info;
  const int result = ::fstat(descriptor.get(), &info);
  check(result == 0, "read_file", "expected to know the size of '{}', got \"{}\"", path_.string(),
        reason(errno));
  check(S_ISREG(info.st_mode), "read_file", "expected a regular file, got the {} '{}'",
        S_ISDIR(info.st_mode) ? "folder" : "device or pipe", path_.string());
  size_ = static_cast<std::uint64_t>(info.st_size);
  descriptor_ = descriptor.release();
}

FileReader::~FileReader() { ::close(descriptor_); }

void FileReader::read(std::uint64_t offset, void* destination, std::size_t bytes) const {
  check(bytes <= size_ && offset <= size_ - bytes, "read_file",
        "expected {} bytes from position {} in '{}', got the end of the file at {}", bytes, offset,
        path_.string(), size_);
  char* out = static_cast<char*>(destination);
  while (bytes > 0) {
    const ssize_t got =
        ::pread(descriptor_, out, std::min(bytes, kLargestCall), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    check(got >= 0, "read_file", "expected to read '{}', got \"{}\" at position {}", path_.string(),
          reason(errno), offset);
    check(got > 0, "read_file", "expected {} bytes in '{}', got {}: it was cut while being read",
          size_, path_.string(), offset);
    out += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

FileWriter::FileWriter(int descriptor, const fs::path& target, std::string name)
    : descriptor_(descriptor), target_(target), name_(std::move(name)) {
  buffer_.reserve(kBufferBytes);
}

void FileWriter::write(const void* data, std::size_t bytes) {
  const char* from = static_cast<const char*>(data);
  if (bytes > kBufferBytes - buffer_.size()) flush();
  if (bytes >= kBufferBytes) {
    write_through(from, bytes);
  } else {
    buffer_.insert(buffer_.end(), from, from + bytes);
  }
}

void FileWriter::flush() {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void FileWriter::write_through(const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, data, std::min(bytes, kLargestCall));
    if (done < 0 && errno == EINTR) continue;
    check(done >= 0, "write_file",
          "expected to write '{}', got \"{}\" after {} bytes: '{}' is unchanged", name_,
          reason(errno), written_, target_.string());
    data += done;
    bytes -= static_cast<std::size_t>(done);
    written_ += static_cast<std::uint64_t>(done);
  }
}

std::string read_file(const fs::path& path) {
  const FileReader file(path);
  std::string contents(file.size(), '\0');
  file.read(0, contents.data(), contents.size());
  return contents;
}

namespace {

/// Where links lead, be it to a file that is not there yet. Of a circle of links, one of them.
fs::path followed(fs::path path) {
  constexpr int kMostLinks = 40;  // as Linux
  std::error_code ignored;
  for (int i = 0; i < kMostLinks && fs::is_symlink(path, ignored); ++i) {
    path = path.parent_path() / fs::read_symlink(path, ignored);
  }
  return path;
}

}  // namespace

void write_file_atomically(const fs::path& path,
                           const std::function<void(FileWriter&)>& write_contents) {
  check(path.has_filename(), "write_file", "expected the name of a file, got '{}'", path.string());
  const fs::path target = followed(path);

  struct stat old;
  const bool replaces = ::lstat(target.c_str(), &old) == 0;
  check(!replaces || S_ISREG(old.st_mode), "write_file",
        "expected to replace a regular file, got the {} '{}'",
        replaces && S_ISDIR(old.st_mode) ? "folder" : "circle of links, device or pipe",
        path.string());

  static std::atomic<unsigned> number{0};
  fs::path temporary_path;
  int opened;
  do {  // a name may be taken: in containers, a killed process often had our process id
    temporary_path = target;
    temporary_path += fmt::format("{}{}-{}", kTemporary, ::getpid(), number++);
    // Nobody reads the new contents who may not read the old.
    opened = open_retrying(temporary_path, O_WRONLY | O_CREAT | O_EXCL,
                           replaces ? old.st_mode & 0777 : 0666);
  } while (opened < 0 && errno == EEXIST);
  Descriptor descriptor(opened);
  if (descriptor.get() < 0) {
    const int open_error = errno;
    fail("write_file", "expected to create '{}', got \"{}\"{}", temporary_path.string(),
         reason(open_error), open_error == ENOENT ? ": " + missing_hint(target) : "");
  }
  TemporaryFile temporary(temporary_path);

  FileWriter writer(descriptor.get(), target, temporary_path.string());
  write_contents(writer);
  writer.flush();
  const auto check_step = [&](int result, const char* step) {
    check(result == 0, "write_file", "expected to {} '{}', got \"{}\": '{}' is unchanged", step,
          temporary_path.string(), reason(errno), target.string());
  };
  if (replaces) check_step(::fchmod(descriptor.get(), old.st_mode & 07777), "set permissions of");
  check_step(::fsync(descriptor.get()), "flush");
  check_step(::close(descriptor.release()), "close");
  temporary.rename_to(target);
  sync_folder_of(target);
}

void write_file_atomically(const fs::path& path, std::string_view contents) {
  write_file_atomically(path, [&](FileWriter& writer) { writer.write(contents); });
}

void remove_leftovers(const fs::path& folder,
                      const std::function<bool(std::string_view)>& is_target) {
  std::error_code ignored;
  for (const fs::path& path : paths_in(folder)) {
    const std::string name = path.filename().string();
    const auto target = target_of(name);
    if (target && is_target(*target) && fs::is_regular_file(path, ignored)) {
      fs::remove(path, ignored);
    }
  }
}

std::vector<fs::path> paths_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;  // ends the loop: a failed increment gives the end
  for (fs::directory_iterator it(folder, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    paths.push_back(it->path());
  }
  return paths;
}

void create_folder(std::string_view op, const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  check(!error, op, "expected to create the folder '{}', got \"{}\"", path.string(),
        error.message());
}

}  // namespace invar
