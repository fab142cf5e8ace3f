// Checkpoints, of a run of three values.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "fuzz/input.hpp"
#include "zoq/train/checkpoint.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] {
    const zoq::checkpoint c = zoq::read_checkpoint(input.path(), 3, "run");
    zoq::fuzz::expect(c.values.size() == 3, "a checkpoint of another size was read");
    for (const float v : c.values) {
      zoq::fuzz::expect(std::isfinite(v), "a value that is not finite was read");
    }
  });
  return 0;
}
