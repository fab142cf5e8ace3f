// Trajectories and other files of JSON lines.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "zoq/train/record.hpp"
#include "zoq/train/trajectory.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] {
    const zoq::trajectory t = zoq::read_trajectory(input.path());
    (void)t.settings.dump();  // as a resumed run writes them again
  });
  zoq::fuzz::read_or_refused([&] {
    for (const nlohmann::json& line : zoq::read_lines(input.path())) {
      (void)line.dump();
    }
  });
  return 0;
}
