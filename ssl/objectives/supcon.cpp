#include <invar/ssl/objectives/supcon.hpp>

namespace invar::ssl {

SupCon::Options SupCon::read_options(JsonReader& reader) {
  Options o;
  o.temperature = reader.get("temperature", o.temperature);
  check(o.temperature > 0, reader.where(), "expected temperature > 0, got {}", o.temperature);
  return o;
}

}  // namespace invar::ssl
