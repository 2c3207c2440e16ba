#include <algorithm>
#include <bit>
#include <cmath>
#include <invar/core/error.hpp>
#include <invar/nn/safetensors.hpp>
#include <invar/ops/convert.hpp>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

namespace invar {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "bytes are copied as they are");

constexpr const char* kFormat = "safetensors";
constexpr const char* kMetadataKey = "__metadata__";
constexpr std::uint64_t kLargestHeader = 100'000'000;  // the limit of the Python package

struct FileDType {
  std::string_view name;
  std::size_t bytes;  // of one element in the file
  DType dtype;        // of the tensor
};

constexpr FileDType kFileDTypes[] = {
    {"F64", 8, DType::f64},      {"F32", 4, DType::f32}, {"BF16", 2, DType::bf16},
    {"I64", 8, DType::i64},      {"I32", 4, DType::i32}, {"U8", 1, DType::u8},
    {"BOOL", 1, DType::boolean}, {"F16", 2, DType::f32},  // last: never written
};

const FileDType* find_dtype(std::string_view name) {
  const auto found = std::find_if(std::begin(kFileDTypes), std::end(kFileDTypes),
                                  [&](const FileDType& d) { return d.name == name; });
  return found == std::end(kFileDTypes) ? nullptr : found;
}

const FileDType& file_dtype_of(DType dtype) {
  return *std::find_if(std::begin(kFileDTypes), std::end(kFileDTypes),
                       [&](const FileDType& d) { return d.dtype == dtype; });
}

/// IEEE binary16: 1 sign, 5 exponent and 10 mantissa bits.
float float_of_half(std::uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  float magnitude;
  if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  } else if (exponent < 31) {
    magnitude = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  } else {
    magnitude = mantissa == 0 ? INFINITY : NAN;
  }
  return half >> 15 ? -magnitude : magnitude;
}

/// Parses the header. No value of a valid one lies deeper than the numbers of a shape, and no name
/// stands twice, which a JSON object would hide.
json parse_header(const std::string& text, const std::string& path) {
  std::set<std::string> names;
  const auto inspect = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      check(depth <= 2, kFormat, "expected a header of three levels in '{}', got a deeper one",
            path);
    } else if (event == json::parse_event_t::key && depth == 1) {
      const auto& name = value.get_ref<const std::string&>();
      check(names.insert(name).second, kFormat, "expected distinct names in '{}', got '{}' twice",
            path, name);
    }
    return true;
  };
  json header;
  check(text.find('\0') == std::string::npos, kFormat,
        "expected a JSON header in '{}', got text with a NUL character", path);
  try {
    header = json::parse(text, inspect);
  } catch (const json::exception& error) {
    fail(kFormat, "expected a JSON header in '{}', got: {}", path, error.what());
  }
  check(header.is_object(), kFormat, "expected the header of '{}' to be a JSON object, got: {}",
        path, header.type_name());
  return header;
}

/// value[key], an array of non-negative integers. `where` names file and tensor.
std::vector<std::uint64_t> integers_of(const json& value, const char* key,
                                       const std::string& where) {
  const auto found = value.find(key);
  check(found != value.end() && found->is_array(), kFormat, "expected an array '{}' in {}, got {}",
        key, where, found == value.end() ? "none" : found->type_name());
  std::vector<std::uint64_t> numbers;
  for (const json& number : *found) {
    check(
        number.is_number_unsigned() &&
            number.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()},
        kFormat, "expected integers of 63 bits in '{}' of {}, got {}", key, where, number.dump());
    numbers.push_back(number.get<std::uint64_t>());
  }
  return numbers;
}

/// The text of "__metadata__".
Metadata metadata_of(const json& value, const std::string& path) {
  check(value.is_object(), kFormat, "expected {} of '{}' to be an object, got: {}", kMetadataKey,
        path, value.type_name());
  Metadata metadata;
  for (const auto& [key, text] : value.items()) {
    check(text.is_string(), kFormat, "expected text as '{}' in {} of '{}', got: {}", key,
          kMetadataKey, path, text.type_name());
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

}  // namespace

SafetensorsFile::Entry SafetensorsFile::entry_of(const json& value, const std::string& where) {
  check(value.is_object(), kFormat, "expected {} to be described by an object, got: {}", where,
        value.type_name());
  const auto dtype = value.find("dtype");
  check(dtype != value.end() && dtype->is_string(), kFormat, "expected a dtype for {}, got {}",
        where, dtype == value.end() ? "none" : dtype->dump());
  const FileDType* file_dtype = find_dtype(dtype->get_ref<const std::string&>());
  check(file_dtype != nullptr, kFormat,
        "expected F64, F32, F16, BF16, I64, I32, U8 or BOOL as dtype of {}, got {}", where,
        dtype->dump());
  const std::vector<std::uint64_t> shape = integers_of(value, "shape", where);
  check(shape.size() <= kMaxDims, kFormat, "expected at most {} dimensions for {}, got {}",
        kMaxDims, where, shape.size());
  const std::vector<std::uint64_t> offsets = integers_of(value, "data_offsets", where);
  check(offsets.size() == 2 && offsets[0] <= offsets[1], kFormat,
        "expected data_offsets [begin, end] for {}, got {}", where, value["data_offsets"].dump());
  Entry entry{std::string(file_dtype->name), {}, offsets[0], offsets[1]};
  for (const std::uint64_t size : shape) entry.shape.push_back(static_cast<std::int64_t>(size));
  const std::optional<std::int64_t> numel = try_numel_of(entry.shape);
  check(numel && static_cast<std::uint64_t>(*numel) * file_dtype->bytes == entry.end - entry.begin,
        kFormat, "expected {} to have the bytes of {} {}, got data_offsets {}", where,
        file_dtype->name, value["shape"].dump(), value["data_offsets"].dump());
  return entry;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string name = path.string();
  check(file_.size() >= 8, kFormat, "expected at least 8 bytes in '{}', got {}: it is cut or empty",
        name, file_.size());
  std::uint64_t header_bytes;
  file_.read(0, &header_bytes, 8);
  check(header_bytes <= kLargestHeader, kFormat,
        "expected a header of at most {} bytes in '{}', got {}: is it a safetensors file?",
        kLargestHeader, name, header_bytes);
  check(header_bytes <= file_.size() - 8, kFormat,
        "expected a header of {} bytes in '{}', got a file of {} bytes: it is cut", header_bytes,
        name, file_.size());
  std::string text(header_bytes, '\0');
  file_.read(8, text.data(), text.size());
  data_start_ = 8 + header_bytes;
  const std::uint64_t data_bytes = file_.size() - data_start_;

  const json header = parse_header(text, name);
  std::vector<std::pair<std::string, const Entry*>> by_offset;
  for (const auto& [key, value] : header.items()) {
    if (key == kMetadataKey) {
      metadata_ = metadata_of(value, name);
      continue;
    }
    Entry entry = entry_of(value, fmt::format("tensor '{}' of '{}'", key, name));
    by_offset.emplace_back(key, &entries_.emplace(key, std::move(entry)).first->second);
  }

  std::sort(by_offset.begin(), by_offset.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  std::uint64_t end = 0;
  for (const auto& [tensor, entry] : by_offset) {
    check(entry->begin == end, kFormat,
          "expected tensor '{}' of '{}' to begin at byte {}, where the one before it ends, got {}",
          tensor, name, end, entry->begin);
    end = entry->end;
  }
  check(end == data_bytes, kFormat, "expected {} bytes of tensors in '{}', got {}: {}", end, name,
        data_bytes, data_bytes < end ? "it is cut" : "something was appended");
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> result;
  for (const auto& [name, entry] : entries_) result.push_back(name);
  return result;
}

Tensor SafetensorsFile::read(std::string_view name) const {
  const auto found = entries_.find(name);
  check(found != entries_.end(), kFormat, "expected a tensor '{}' in '{}', got {} others", name,
        path().string(), entries_.size());
  const Entry& entry = found->second;
  const FileDType& file_dtype = *find_dtype(entry.file_dtype);
  Tensor tensor = empty(entry.shape, {.dtype = file_dtype.dtype});
  const std::uint64_t start = data_start_ + entry.begin;
  if (entry.file_dtype == "F16") {
    std::vector<std::uint16_t> halves(static_cast<std::size_t>(tensor.numel()));
    file_.read(start, halves.data(), entry.end - entry.begin);
    std::transform(halves.begin(), halves.end(), tensor.data<float>(), float_of_half);
    return tensor;
  }
  file_.read(start, tensor.raw_data(), entry.end - entry.begin);
  if (tensor.dtype() == DType::boolean) {
    const auto* bytes = static_cast<const std::uint8_t*>(tensor.raw_data());
    check(std::all_of(bytes, bytes + tensor.numel(), [](std::uint8_t b) { return b <= 1; }),
          kFormat, "expected 0 and 1 in the BOOL tensor '{}' of '{}', got another value", name,
          path().string());
  }
  return tensor;
}

StateDict read_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  StateDict tensors;
  for (const std::string& name : file.names()) tensors.emplace(name, file.read(name));
  return tensors;
}

void write_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                       const Metadata& metadata) {
  struct Item {
    std::string name;
    Tensor tensor;
    std::size_t bytes;
  };
  std::vector<Item> items;
  for (const auto& [name, tensor] : tensors) {
    check(name != kMetadataKey, kFormat, "expected another name for a tensor than {}",
          kMetadataKey);
    check(tensor.defined(), kFormat, "expected tensor '{}' to be defined", name);
    const Tensor dense = contiguous(to(tensor.detach(), kCpu));
    items.push_back(
        {name, dense, static_cast<std::size_t>(dense.numel()) * size_of(dense.dtype())});
  }
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return size_of(a.tensor.dtype()) > size_of(b.tensor.dtype());
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::uint64_t end = 0;
  for (const Item& item : items) {
    const std::uint64_t begin = end;
    end += item.bytes;
    header[item.name] = {{"dtype", file_dtype_of(item.tensor.dtype()).name},
                         {"shape", std::vector<std::int64_t>(item.tensor.shape().begin(),
                                                             item.tensor.shape().end())},
                         {"data_offsets", {begin, end}}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& error) {
    fail(kFormat, "expected names and metadata in UTF-8 for '{}', got: {}", path.string(),
         error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check(text.size() <= kLargestHeader, kFormat,
        "expected a header of at most {} bytes for '{}', got {}", kLargestHeader, path.string(),
        text.size());

  write_file_atomically(path, [&](FileWriter& writer) {
    const std::uint64_t header_bytes = text.size();
    writer.write(&header_bytes, sizeof header_bytes);
    writer.write(text);
    for (const Item& item : items) writer.write(item.tensor.raw_data(), item.bytes);
  });
}

}  // namespace invar
