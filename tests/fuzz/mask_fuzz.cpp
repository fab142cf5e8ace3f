// Masks: zoq's own and dense ones.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "zoq/io/dense_mask_file.hpp"
#include "zoq/io/mask_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  for (const zoq::index_t heads : {0, 2}) {
    zoq::fuzz::read_or_refused([&] {
      const zoq::mask m = zoq::read_any_mask(input.path(), {.heads = heads, .kv_heads = heads});
      m.validate();
      zoq::fuzz::expect(m.count() <= static_cast<zoq::index_t>(size), "more places than bytes");
      (void)m.hash();
      zoq::require_model(m, "another", "input");
    });
  }
  return 0;
}
