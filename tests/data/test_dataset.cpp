#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_approx.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <cstring>
#include <invar/data/dataset.hpp>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "support.hpp"

using namespace invar;
using namespace invar::test;
using Catch::Matchers::ContainsSubstring;

namespace {

/// An IDX file: u8 data counting up.
Bytes idx(const std::vector<std::uint32_t>& shape, std::uint8_t type = 0x08, std::size_t item = 1,
          int limit = 256) {
  Bytes bytes{0, 0, type, static_cast<std::uint8_t>(shape.size())};
  std::size_t count = item;
  for (std::uint32_t extent : shape) {
    for (int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(extent >> shift));
    count *= extent;
  }
  for (std::size_t i = 0; i < count; ++i)
    bytes.push_back(static_cast<std::uint8_t>(static_cast<int>(i) % limit));
  return bytes;
}

Bytes gzipped(const Bytes& bytes) {
  const TempFolder folder;
  const std::string path = folder / "x.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  const std::string packed = read_file(path);
  return Bytes(packed.begin(), packed.end());
}

/// A file of `size` zero bytes that takes no room on disk.
void write_zeros(const std::string& path, std::uintmax_t size) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary).flush();
  fs::resize_file(path, size);
}

void patch(const std::string& path, std::streamoff at, const Bytes& bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(at);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

Bytes tiny_png(std::uint8_t value, ImageShape shape = {2, 3, 3}) {
  const std::string png = encode_png({shape, Bytes(shape.size(), value)});
  return Bytes(png.begin(), png.end());
}

}  // namespace

// ---- IDX ---------------------------------------------------------------------------------------

TEST_CASE("IDX files read the same plain and gzipped", "[unit][smoke]") {
  const TempFolder folder;
  const Bytes bytes = idx({4, 3, 2});
  for (const std::string& path :
       {folder.write("plain", bytes), folder.write("packed.gz", gzipped(bytes))}) {
    const IdxArray array = read_idx(path);
    CHECK(array.type == IdxType::u8);
    CHECK(array.shape == std::vector<std::int64_t>{4, 3, 2});
    REQUIRE(array.bytes.size() == 24);
    CHECK(array.bytes[23] == 23);
  }
}

TEST_CASE("IDX elements of every type come in this machine's byte order", "[unit]") {
  const TempFolder folder;
  Bytes file{0, 0, 0x0C, 1, 0, 0, 0, 2, 0x01, 0x02, 0x03, 0x04, 0xFF, 0xFF, 0xFF, 0xFE};
  IdxArray array = read_idx(folder.write("i32", file));
  std::int32_t integers[2];
  std::memcpy(integers, array.bytes.data(), sizeof integers);
  CHECK(integers[0] == 0x01020304);
  CHECK(integers[1] == -2);

  file = {0, 0, 0x0E, 1, 0, 0, 0, 1, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0};
  array = read_idx(folder.write("f64", file));
  double real = 0;
  std::memcpy(&real, array.bytes.data(), sizeof real);
  CHECK(real == 1.5);

  CHECK(read_idx(folder.write("i16", idx({3}, 0x0B, 2))).bytes == Bytes{1, 0, 3, 2, 5, 4});
  CHECK(read_idx(folder.write("empty", idx({0, 5}))).bytes.empty());
}

TEST_CASE("Damaged IDX files give errors that say what is wrong", "[unit]") {
  const TempFolder folder;
  const auto message = [&](const Bytes& bytes) {
    return error_of([&] { read_idx(folder.write("bad", bytes)); });
  };
  CHECK_THAT(message({}), ContainsSubstring("bad") && ContainsSubstring("at least 4 bytes, got 0"));
  CHECK_THAT(message({1, 0, 8, 1, 0, 0, 0, 0}), ContainsSubstring("got 01 00 08 01"));
  CHECK_THAT(message(idx({2}, 0x0A)), ContainsSubstring("got 00 00 0a 01"));
  CHECK_THAT(message({0, 0, 8, 0}), ContainsSubstring("magic number"));
  CHECK_THAT(message({0, 0, 8, 3, 0, 0, 0, 1, 0}),
             ContainsSubstring("3 dimensions, the file ends after 1"));
  Bytes bytes = idx({10, 2});
  bytes.pop_back();
  CHECK_THAT(message(bytes), ContainsSubstring("expected 20 bytes") &&
                                 ContainsSubstring("[10,2]") && ContainsSubstring("after 19"));
  bytes = idx({10, 2});
  bytes.push_back(0);
  CHECK_THAT(message(bytes), ContainsSubstring("the file holds more"));
  CHECK_THAT(message({0, 0, 8, 4, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1, 0, 0, 0, 1}),
             ContainsSubstring("header declares [4294967295,4294967295"));
  // A header that promises 40 GB over an almost empty file costs nothing.
  CHECK_THAT(message({0, 0, 8, 1, 0xFF, 0, 0, 0, 7}), ContainsSubstring("after 1"));
  CHECK_THAT(error_of([&] { read_idx(folder / "missing"); }), ContainsSubstring("missing"));
  CHECK_THROWS_AS(read_idx(folder.path().string()), Error);
  // Nobody ever writes into this pipe.
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(error_of([&] { read_idx(folder / "pipe"); }), ContainsSubstring("a regular file"));
}

TEST_CASE("IDX files cut anywhere are errors; damaged gzip never passes", "[unit]") {
  const TempFolder folder;
  const Bytes plain = idx({6, 5, 4}), packed = gzipped(plain);
  for (const Bytes& whole : {plain, packed}) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      CAPTURE(length, whole.size());
      REQUIRE_THROWS_AS(read_idx(folder.write("cut", cut)), Error);
    }
  }
  std::mt19937 random(2);
  int unnoticed = 0;
  for (int trial = 0; trial < 500; ++trial) {
    Bytes damaged = packed;
    // Behind the ten bytes of gzip's header, whose time stamp does not matter.
    damaged[10 + random() % (damaged.size() - 10)] ^= static_cast<std::uint8_t>(1u << random() % 8);
    CAPTURE(trial);
    IdxArray array;
    try {
      array = read_idx(folder.write("damaged", damaged));
    } catch (const Error&) {
      continue;
    }
    // A bit that only pads the last byte may flip unnoticed, but the data never change.
    REQUIRE(array.bytes == Bytes(plain.begin() + 16, plain.end()));
    ++unnoticed;
  }
  CHECK(unnoticed < 50);
  for (int trial = 0; trial < 300; ++trial) {
    Bytes damaged = plain;
    damaged[random() % 16] = static_cast<std::uint8_t>(random());
    try {
      const IdxArray array = read_idx(folder.write("header", damaged));
      REQUIRE(array.bytes.size() <= damaged.size());
    } catch (const Error&) {
    }
  }
}

TEST_CASE("A pair of IDX files is a data set", "[unit]") {
  const TempFolder folder;
  const std::string images = folder.write("images", idx({4, 3, 2}));
  const std::string labels = folder.write("labels", idx({4}, 8, 1, 3));
  const DatasetPtr data = load_idx(images, labels);
  CHECK(data->size() == 4);
  CHECK(data->shape() == ImageShape{3, 2, 1});
  CHECK(data->classes() == std::vector<std::string>{"0", "1", "2"});
  const Sample sample = data->get(3);
  CHECK(sample.label == 0);
  CHECK(sample.image.pixels == Bytes{18, 19, 20, 21, 22, 23});
  CHECK_THROWS_AS(data->get(4), Error);
  CHECK_THROWS_AS(data->get(-1), Error);

  CHECK(load_idx(folder.write("rgb", idx({4, 3, 2, 3})), labels)->shape() == ImageShape{3, 2, 3});
  CHECK_THAT(error_of([&] { load_idx(images, folder.write("five", idx({5}))); }),
             ContainsSubstring("got 5 in") && ContainsSubstring("and 4 in"));
  CHECK_THAT(error_of([&] {
               load_idx(images, labels, {"a", "b"});
             }),
             ContainsSubstring("labels below 2, label 2 is 2"));
  CHECK_THAT(error_of([&] { load_idx(labels, labels); }), ContainsSubstring("[N,H,W]"));
  CHECK_THAT(error_of([&] { load_idx(images, images); }), ContainsSubstring("labels [N]"));
}

TEST_CASE("A missing Fashion-MNIST says where it looked and how to get it", "[unit]") {
  const TempFolder folder;
  CHECK_THAT(error_of([&] { load_fashion_mnist(Split::test, folder / "nowhere"); }),
             ContainsSubstring("t10k-images-idx3-ubyte.gz") && ContainsSubstring("nowhere") &&
                 ContainsSubstring("not a folder") && ContainsSubstring("dataset-fashion-mnist"));
  folder.write("train-images-idx3-ubyte", idx({2, 28, 28}));
  CHECK_THAT(error_of([&] { load_mnist(Split::train, folder.path().string()); }),
             ContainsSubstring("train-labels-idx1-ubyte") && ContainsSubstring("found neither"));
}

TEST_CASE("Fashion-MNIST, where it is installed, is itself", "[unit]") {
  if (!fs::exists(kFashionMnistRoot)) SKIP("dataset-fashion-mnist is not installed");
  const DatasetPtr data = load_fashion_mnist(Split::train);
  REQUIRE(data->size() == 60'000);
  CHECK(data->shape() == ImageShape{28, 28, 1});
  CHECK(data->classes().at(static_cast<std::size_t>(data->get(0).label)) == "Ankle boot");
  std::vector<int> count(10);
  double sum = 0;
  Sample sample;
  for (std::int64_t i = 0; i < data->size(); ++i) {
    data->read(i, sample);
    ++count[static_cast<std::size_t>(sample.label)];
    sum += std::accumulate(sample.image.pixels.begin(), sample.image.pixels.end(), 0);
  }
  CHECK(count == std::vector<int>(10, 6000));
  CHECK(sum / (60'000.0 * 784 * 255) == Catch::Approx(0.2860).margin(5e-5));
  CHECK(load_fashion_mnist(Split::test)->size() == 10'000);
}

// ---- CIFAR -------------------------------------------------------------------------------------

TEST_CASE("CIFAR-10 batches are read and interleaved", "[unit]") {
  const TempFolder folder;
  const std::string root = folder.path().string();
  const std::string path = folder / "cifar-10-batches-bin/test_batch.bin";
  write_zeros(path, 10'000 * 3073);
  // Record 9999: label 7, red 1, green 2, blue 3 at pixel (0, 1).
  const std::streamoff record = 9999 * 3073;
  patch(path, record, {7});
  for (int c = 0; c < 3; ++c)
    patch(path, record + 1 + 1024 * c + 1, {static_cast<std::uint8_t>(c + 1)});
  const DatasetPtr data = load_cifar10(Split::test, root);
  REQUIRE(data->size() == 10'000);
  CHECK(data->shape() == ImageShape{32, 32, 3});
  const Sample sample = data->get(9999);
  CHECK(data->classes().at(static_cast<std::size_t>(sample.label)) == "horse");
  CHECK(Bytes(sample.image.pixels.begin(), sample.image.pixels.begin() + 9) ==
        Bytes{0, 0, 0, 1, 2, 3, 0, 0, 0});
  CHECK(load_cifar10(Split::test, folder / "cifar-10-batches-bin")->size() == 10'000);

  CHECK_THAT(error_of([&] { load_cifar10(Split::train, root); }),
             ContainsSubstring("data_batch_1.bin") && ContainsSubstring("cifar-10-binary.tar.gz"));
  patch(path, record, {10});
  CHECK_THAT(error_of([&] { load_cifar10(Split::test, root); }),
             ContainsSubstring("record 9999 has 10"));
  fs::resize_file(path, record);
  CHECK_THAT(error_of([&] { load_cifar10(Split::test, root); }),
             ContainsSubstring("expected 30730000 bytes") && ContainsSubstring("got 30726927"));
}

TEST_CASE("CIFAR-100 takes the fine labels and their names", "[unit]") {
  const TempFolder folder;
  const std::string path = folder / "test.bin";
  write_zeros(path, 10'000 * 3074);
  patch(path, 0, {11, 42});
  const std::string names = "apple\n" + std::string("x\n", 2);
  folder.write("fine_label_names.txt",
               {reinterpret_cast<const std::uint8_t*>(names.data()), names.size()});
  const DatasetPtr data = load_cifar100(Split::test, folder.path().string());
  CHECK(data->get(0).label == 42);
  REQUIRE(data->classes().size() == 100);
  CHECK(data->classes()[0] == "apple");
  CHECK(data->classes()[99] == "99");
}

// ---- Folders -----------------------------------------------------------------------------------

TEST_CASE("A folder per class is read in alphabetical order by any number of threads", "[unit]") {
  const TempFolder folder;
  folder.write("zebra/b.PNG", tiny_png(2));
  folder.write("zebra/a.png", tiny_png(1));
  folder.write("zebra/notes.txt", Bytes{1});
  folder.write("zebra/.hidden.png", Bytes{1});
  folder.write("ant/deep/x.Jpeg", tiny_png(3, {4, 4, 1}));
  folder.write(".git/y.png", Bytes{1});
  folder.write("readme.txt", Bytes{1});
  for (int threads : {1, 4}) {
    std::vector<std::int64_t> seen;
    ImageFolderOptions options;
    options.threads = threads;
    options.progress = [&](std::int64_t done, std::int64_t total) {
      CHECK(total == 3);
      seen.push_back(done);
    };
    const DatasetPtr data = load_image_folder(folder.path().string(), options);
    CHECK(seen == std::vector<std::int64_t>{1, 2, 3});
    CHECK(data->classes() == std::vector<std::string>{"ant", "zebra"});
    REQUIRE(data->size() == 3);
    CHECK(data->shape() == ImageShape{0, 0, 3});
    for (std::int64_t i = 0; i < 3; ++i) {
      const Sample sample = data->get(i);
      CHECK(sample.label == (i == 0 ? 0 : 1));
      CHECK(sample.image.pixels.at(0) == (i == 0 ? 3 : i));
    }
    CHECK(data->get(0).image.shape == ImageShape{4, 4, 3});
  }
}

TEST_CASE("A folder of images without folders is unlabelled", "[unit]") {
  const TempFolder folder;
  folder.write("b.png", tiny_png(1));
  folder.write("a.png", tiny_png(2));
  const DatasetPtr data = load_image_folder(folder.path().string());
  REQUIRE(data->size() == 2);
  CHECK(data->classes().empty());
  CHECK(data->get(0).label == -1);
  CHECK(data->get(0).image.pixels.at(0) == 2);
}

TEST_CASE("Links in an image folder are followed, broken ones are errors", "[unit]") {
  const TempFolder folder, elsewhere;
  folder.write("a/0.png", tiny_png(1));
  elsewhere.write("1.png", tiny_png(2));
  fs::create_directory_symlink(elsewhere.path(), folder / "a/more");
  fs::create_directory_symlink(elsewhere.path(), folder / "b");
  fs::create_symlink(elsewhere / "1.png", folder / "b/2.png");
  CHECK(load_image_folder(folder.path().string(), {})->size() == 5);  // 2.png is in all of them
  REQUIRE(mkfifo((folder / "a/pipe.jpg").c_str(), 0600) == 0);
  CHECK_THAT(error_of([&] { load_image_folder(folder.path().string(), {}); }),
             ContainsSubstring("pipe.jpg") && ContainsSubstring("something else"));
  fs::remove(folder / "a/pipe.jpg");
  fs::remove(elsewhere / "1.png");
  CHECK_THAT(error_of([&] { load_image_folder(folder.path().string(), {}); }),
             ContainsSubstring("broken link") && ContainsSubstring("2.png"));
  fs::remove(elsewhere / "2.png");
  fs::remove(folder / "b");
  fs::create_directory_symlink(folder / "gone", folder / "c");
  CHECK_THAT(error_of([&] { load_image_folder(folder.path().string(), {}); }),
             ContainsSubstring("broken link") && ContainsSubstring("/c'"));
}

TEST_CASE("Bad image folders are errors that name the place", "[unit]") {
  const TempFolder folder;
  const auto message = [&](ImageFolderOptions options = {}) {
    return error_of([&] { load_image_folder(folder.path().string(), options); });
  };
  CHECK_THAT(error_of([&] { load_image_folder(folder / "none"); }),
             ContainsSubstring("none") && ContainsSubstring("not a folder"));
  CHECK_THAT(message(),
             ContainsSubstring("expected JPEG or PNG") && ContainsSubstring("found none"));
  folder.write("a.heic", Bytes{1});
  CHECK_THAT(message(), ContainsSubstring("a.heic") && ContainsSubstring("convert"));
  fs::remove(folder / "a.heic");
  folder.write("a.webp", Bytes{1});
  CHECK_THAT(message(), ContainsSubstring("a.webp") && ContainsSubstring("convert"));
  fs::remove(folder / "a.webp");
  fs::create_directories(folder / "a");
  CHECK_THAT(message(), ContainsSubstring("/a, found none"));
  Bytes cut = tiny_png(1);
  cut.erase(cut.end() - 5, cut.end());
  folder.write("a/good.png", tiny_png(1));
  for (int i = 0; i < 20; ++i)
    folder.write(fmt::format("b/{:02}.png", i), i == 7 || i == 15 ? cut : tiny_png(1));
  // The first bad file is named, whoever finds which first.
  for (int threads : {1, 4})
    CHECK_THAT(message({.threads = threads}), ContainsSubstring("b/07.png"));
  folder.write("loose.jfif", Bytes{1});
  CHECK_THAT(message(), ContainsSubstring("'loose.jfif' beside the folder 'a'"));
  fs::remove(folder / "loose.jfif");
  fs::remove_all(folder / "b");
  CHECK_THAT(message({.max_bytes = 17}), ContainsSubstring("at most 17 bytes"));
}

TEST_CASE("The JPEG CIFAR-10 beside the project, where it is, loads", "[unit]") {
  const fs::path archive = fs::path("..") / "shared" / "data" / "cifar10-jpegq75.tar.xz";
  if (!fs::exists(archive)) SKIP(archive.string() + " is not there");
  const TempFolder folder;
  const std::string command =
      fmt::format("tar -xf '{}' -C '{}' --wildcards '*/test/*/000?.jpg' 2>/dev/null",
                  archive.string(), folder.path().string());
  if (std::system(command.c_str()) != 0) SKIP("tar cannot unpack " + archive.string());
  const DatasetPtr data =
      make_dataset({{"name", "image_folder"}, {"root", folder / "cifar10-jpegq75"}}, Split::test);
  REQUIRE(data->size() == 100);
  CHECK(data->shape() == ImageShape{32, 32, 3});
  CHECK(data->classes().front() == "airplane");
  CHECK(data->classes().back() == "truck");
  double sum = 0;
  for (std::int64_t i = 0; i < 100; ++i) {
    const Image image = data->get(i).image;
    sum += std::accumulate(image.pixels.begin(), image.pixels.end(), 0.0);
  }
  CHECK(sum / (100 * 3072 * 255) == Catch::Approx(0.473).margin(0.03));
}

// ---- By name -----------------------------------------------------------------------------------

TEST_CASE("make_dataset builds by name and refuses what it does not know", "[unit]") {
  const TempFolder folder;
  const std::string images = folder.write("images", idx({4, 3, 2}));
  const std::string labels = folder.write("labels", idx({4}));
  const Json files{{"images", images}, {"labels", labels}};
  const Json config{{"name", "idx"}, {"train", files}, {"classes", {"a", "b", "c", "d"}}};
  CHECK(make_dataset(config, Split::train)->classes()[3] == "d");
  const auto message = [&](const Json& json, Split split = Split::train) {
    return error_of([&] { make_dataset(json, split); });
  };
  CHECK_THAT(message(config, Split::test), ContainsSubstring("\"test\""));
  CHECK_THAT(message({{"name", "fashion_mnst"}}),
             ContainsSubstring("did you mean \"fashion_mnist\""));
  CHECK_THAT(message({{"name", "cifar10"}, {"rot", "x"}}),
             ContainsSubstring("expected the key \"root\""));
  CHECK_THAT(message({{"name", "idx"}, {"train", files}, {"clases", 1}}),
             ContainsSubstring("\"clases\": did you mean \"classes\""));
  CHECK_THAT(message({{"name", 5}}),
             ContainsSubstring("\"name\"") && ContainsSubstring("wrong type"));
  CHECK_THAT(message(Json::array()), ContainsSubstring("JSON object"));

  folder.write("set/train/a/1.png", tiny_png(1));
  folder.write("set/val/a/1.png", tiny_png(1));
  folder.write("set/val/b/1.png", tiny_png(1));
  const Json images_of{{"name", "image_folder"}, {"root", folder / "set"}, {"channels", 1}};
  CHECK(make_dataset(images_of, Split::train)->classes().size() == 1);
  CHECK(make_dataset(images_of, Split::test)->classes().size() == 2);
  CHECK(make_dataset(images_of, Split::test)->shape() == ImageShape{2, 3, 1});
  const Json flat{{"name", "image_folder"}, {"root", folder / "set/val"}};
  CHECK(make_dataset(flat, Split::train)->size() == 2);
  CHECK(has_test_split(images_of));
  CHECK(has_test_split({{"name", "fashion_mnist"}}));
  CHECK_FALSE(has_test_split(flat));
  CHECK_FALSE(has_test_split(config));
  CHECK_THAT(message(flat, Split::test),
             ContainsSubstring("/test") && ContainsSubstring("held_out"));
  // Test images are not trained on as if they were of one more class.
  folder.write("mixed/a/1.png", tiny_png(1));
  folder.write("mixed/test/a/1.png", tiny_png(1));
  const Json mixed{{"name", "image_folder"}, {"root", folder / "mixed"}};
  CHECK_THAT(message(mixed), ContainsSubstring("mixed/train"));
  CHECK(make_dataset(mixed, Split::test)->size() == 1);
}

TEST_CASE("Data sets refuse pixels and labels that do not fit", "[unit]") {
  const ImageShape shape{2, 2, 1};
  CHECK_THROWS_AS(MemoryDataset(shape, Bytes(7), {0, 0}, {"a"}), Error);
  CHECK_THROWS_AS(MemoryDataset(shape, Bytes(8), {0, 1}, {"a"}), Error);
  CHECK_THROWS_AS(MemoryDataset({2, 2, 2}, Bytes(8), {0}, {"a"}), Error);
  CHECK_THROWS_AS(MemoryDataset(shape, Bytes(4), {0}, {}), Error);
  CHECK(MemoryDataset(shape, Bytes(4), {-1}, {}).size() == 1);
  const Image grey{shape, Bytes(4)}, colour{{2, 2, 3}, Bytes(12)};
  CHECK_THROWS_AS(ImageListDataset({{grey, 0}, {colour, 0}}, {"a"}), Error);
  CHECK_THROWS_WITH(ImageListDataset({{grey, 0}, {Image{shape, Bytes(3)}, 0}}, {"a"}),
                    ContainsSubstring("[ImageListDataset: image 1] expected 4 bytes"));
  CHECK_THROWS_AS(ImageListDataset({{Image{{1, 1, 4}, Bytes(4)}, 0}}, {"a"}), Error);
  CHECK(ImageListDataset({{grey, 0}, {grey, 0}}, {"a"}).shape() == shape);
}
