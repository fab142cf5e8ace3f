// config.json of a Hugging Face folder whose weights are as they should be; behind a line "---" an index of
// shards.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/hf_input.hpp"
#include "fuzz/look_at.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const zoq::fuzz::hf_input folder;
  const auto pieces = zoq::fuzz::pieces_of(zoq::fuzz::as_text({data, size}));
  folder.put("config.json", pieces[0]);
  if (pieces.size() > 1) {
    folder.put("model.safetensors.index.json", pieces[1]);
  } else {
    folder.remove("model.safetensors.index.json");
  }
  zoq::fuzz::read_or_refused([&] { zoq::fuzz::look_at(zoq::open_hf_folder(folder.path())); });
  return 0;
}
