#pragma once
// Files that are read completely or not at all, and replaced completely or not at all.
//
// FileReader and FileWriter check every system call. Their errors are invar::Error and say which
// path, what was attempted and the system's reason:
//
//   [write_file] expected to write 'runs/a/last.safetensors.tmp-71-0', got "No space left on
//   device" after 1048576 bytes: 'runs/a/last.safetensors' is unchanged
//
// write_file_atomically writes a temporary file beside the target, flushes it to the disk and
// renames it. At every moment, also when the process is killed or the machine stops, the target
// is the complete old file or the complete new one. After an error the temporary file is removed;
// after a kill it remains (name: the target's, then ".tmp-", process id, "-", number) until
// remove_leftovers finds it.
//
// Beside them: what a folder holds, and making one.
//
// Threads: one reader may be used by several threads; a writer belongs to one.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace invar {

/// An open regular file. It is read with system calls rather than mapped into memory: if somebody
/// truncates it meanwhile, the next read is an error; a mapped file would end the process (SIGBUS).
class FileReader {
 public:
  /// Error if there is no such file, it may not be read, or it is not a regular file.
  explicit FileReader(std::filesystem::path path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// In bytes, when it was opened.
  std::uint64_t size() const { return size_; }
  /// Copies exactly `bytes` bytes from position `offset` on; Error if the file ends before.
  void read(std::uint64_t offset, void* destination, std::size_t bytes) const;

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::uint64_t size_;
};

/// What write_file_atomically hands out to write the new contents with. Small pieces are collected,
/// so writing byte by byte is fine.
class FileWriter {
 public:
  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }

 private:
  friend void write_file_atomically(const std::filesystem::path& path,
                                    const std::function<void(FileWriter&)>& write_contents);

  FileWriter(int descriptor, const std::filesystem::path& target, std::string name);
  void flush();
  void write_through(const char* data, std::size_t bytes);

  int descriptor_;
  const std::filesystem::path& target_;
  std::string name_;  // of the temporary file
  std::vector<char> buffer_;
  std::uint64_t written_ = 0;  // bytes that the system has accepted
};

/// The whole file.
std::string read_file(const std::filesystem::path& path);

/// Makes `path` contain what `write_contents` writes. The folder must exist. If anything fails or
/// `write_contents` throws, `path` is as before and the error goes on (but for a folder that cannot
/// be flushed: then the error says that `path` is the new file). Symbolic links are followed, also
/// to a file that is not there yet; permissions of a file that is replaced are kept. Anything but a
/// regular file is not replaced.
void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(FileWriter&)>& write_contents);
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

/// Removes the temporary files in `folder` that killed calls of write_file_atomically left, of the
/// targets whose file name `is_target` accepts. Whoever calls it knows that nobody writes these
/// targets at the moment. What cannot be removed, or a folder that does not exist, is no error.
void remove_leftovers(const std::filesystem::path& folder,
                      const std::function<bool(std::string_view name)>& is_target);

/// What is in a folder; nothing if that cannot be read.
std::vector<std::filesystem::path> paths_in(const std::filesystem::path& folder);

/// Makes the folder, and those that it is to be in, if they do not exist.
void create_folder(std::string_view op, const std::filesystem::path& path);

}  // namespace invar
