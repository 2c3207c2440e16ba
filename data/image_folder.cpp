#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <exception>
#include <filesystem>
#include <invar/data/dataset.hpp>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

namespace invar {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kOp = "image_folder";

bool hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// False for what is no image by its name. A picture in a format that is not read would make the
/// data set smaller without a word.
bool is_image(const fs::path& path) {
  constexpr std::array kRead = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"};
  constexpr std::array kOthers = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2",
                                  ".jxl",  ".pgm", ".ppm", ".tif",  ".tiff", ".webp"};
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  check(std::ranges::find(kOthers, ending) == kOthers.end(), kOp,
        "expected JPEG and PNG files, got '{}': convert or remove it", path.string());
  return std::ranges::find(kRead, ending) != kRead.end();
}

/// So would a link to a disk that is not there.
void check_link(const fs::directory_entry& entry) {
  check(
      entry.exists() || hidden(entry.path()), kOp,
      "expected files and folders, got the broken link '{}': remove it or restore what it leads to",
      entry.path().string());
}

/// The names of the folders in `root`; none: it has the images itself. Error if it has both, since
/// one of the two would be left out.
std::vector<std::string> sorted_classes(const std::string& root) {
  std::error_code ignored;
  check(fs::is_directory(root, ignored), kOp,
        "expected a folder with one folder of images per class, or of images, got {}, which "
        "is not a folder",
        root);
  std::vector<std::string> classes;
  std::optional<fs::path> image;
  for (const auto& entry : fs::directory_iterator(root)) {
    check_link(entry);
    if (hidden(entry.path())) continue;
    if (entry.is_directory()) {
      classes.push_back(entry.path().filename().string());
    } else if (!image && is_image(entry.path())) {
      image = entry.path();
    }
  }
  std::sort(classes.begin(), classes.end());
  if (image && !classes.empty()) {
    fail(kOp,
         "expected either images or folders of classes in {}, got the image '{}' beside the folder "
         "'{}': move one of them elsewhere",
         root, image->filename().string(), classes.front());
  }
  return classes;
}

std::vector<std::string> sorted_images(const fs::path& folder) {
  std::vector<std::string> files;
  constexpr auto kLinksToo = fs::directory_options::follow_directory_symlink;
  for (auto it = fs::recursive_directory_iterator(folder, kLinksToo);
       it != fs::recursive_directory_iterator(); ++it) {
    check_link(*it);
    if (hidden(it->path())) {
      it.disable_recursion_pending();
    } else if (!it->is_directory() && is_image(it->path())) {
      check(it->is_regular_file(), kOp, "expected files, got '{}', which is something else",
            it->path().string());
      files.push_back(it->path().string());
    }
  }
  check(!files.empty(), kOp, "expected JPEG or PNG files in {}, found none", folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

/// Reads the images of `samples`, each from its file.
void decode(const std::vector<std::string>& files, const std::string& root,
            const ImageFolderOptions& options, std::vector<Sample>& samples) {
  std::atomic<std::size_t> next = 0;
  std::atomic<std::int64_t> bytes = 0;
  std::mutex mutex;  // guards the three below
  std::int64_t done = 0;
  std::size_t failed = files.size();  // the first file, in order, that could not be read
  std::exception_ptr error;
  const auto decode_some = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      try {
        samples[i].image = read_image(files[i], {.channels = options.channels});
        bytes += static_cast<std::int64_t>(samples[i].image.pixels.size());
        check(bytes <= options.max_bytes, kOp,
              "expected at most {} bytes of decoded images, {} holds more: "
              "raise max_bytes",
              options.max_bytes, root);
        const std::lock_guard lock(mutex);
        ++done;
        if (options.progress) options.progress(done, static_cast<std::int64_t>(files.size()));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          error = std::current_exception();
        }
        next = files.size();  // files before i are in other hands already
      }
    }
  };
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const auto wanted = options.threads > 0 ? static_cast<unsigned>(options.threads) : cores;
  {
    std::vector<std::jthread> others;
    try {
      for (unsigned t = 1; t < std::min<std::size_t>(wanted, files.size()); ++t) {
        others.emplace_back(decode_some);
      }
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are decode the rest.
    }
    decode_some();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace

DatasetPtr load_image_folder(const std::string& root, const ImageFolderOptions& options) {
  check(options.channels == 1 || options.channels == 3, kOp, "expected channels 1 or 3, got {}",
        options.channels);
  check(options.threads >= 0, kOp, "expected threads >= 0, got {}", options.threads);
  std::vector<std::string> classes;
  std::vector<std::string> files;
  std::vector<Sample> samples;
  try {
    const auto add = [&](const fs::path& folder, std::int64_t label) {
      for (std::string& file : sorted_images(folder)) {
        files.push_back(std::move(file));
        samples.push_back({{}, label});
      }
    };
    classes = sorted_classes(root);
    if (classes.empty()) add(root, -1);
    for (std::size_t c = 0; c < classes.size(); ++c) {
      add(fs::path(root) / classes[c], static_cast<std::int64_t>(c));
    }
  } catch (const fs::filesystem_error& error) {
    fail(kOp, "expected readable folders below {}, got: {}", root, error.what());
  }
  decode(files, root, options, samples);
  return std::make_shared<ImageListDataset>(std::move(samples), std::move(classes));
}

}  // namespace invar
