#pragma once
// Device: where a tensor's bytes live.
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace invar {

enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  std::int8_t index = 0;  ///< which GPU; 0 for the CPU

  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpu{};

/// "cpu" or "cuda:0".
std::string to_string(Device device);

/// Parses "cpu", "cuda" or "cuda:N"; throws Error otherwise.
Device parse_device(std::string_view text);

}  // namespace invar

template <>
struct fmt::formatter<invar::Device> : fmt::formatter<std::string> {
  auto format(invar::Device d, fmt::format_context& ctx) const {
    return fmt::formatter<std::string>::format(invar::to_string(d), ctx);
  }
};
