#include <charconv>
#include <invar/core/device.hpp>
#include <invar/core/error.hpp>

namespace invar {

std::string to_string(Device device) {
  return device.type == DeviceType::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "cuda") return {DeviceType::cuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  if (text.starts_with(kPrefix)) {
    int index = -1;
    const char* first = text.data() + kPrefix.size();
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, index);
    if (error == std::errc{} && end == last && index >= 0 && index < 128) {
      return {DeviceType::cuda, static_cast<std::int8_t>(index)};
    }
  }
  fail("device", "expected \"cpu\", \"cuda\" or \"cuda:N\", got \"{}\"", text);
}

}  // namespace invar
