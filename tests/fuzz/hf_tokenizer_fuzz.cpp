// tokenizer.json of a Hugging Face folder, and behind a line "---" tokenizer_config.json.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/hf_input.hpp"
#include "zoq/io/tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const zoq::fuzz::hf_input folder;
  const auto pieces = zoq::fuzz::pieces_of(zoq::fuzz::as_text({data, size}));
  folder.put("tokenizer.json", pieces[0]);
  folder.put("tokenizer_config.json", pieces.size() > 1 ? pieces[1] : "{}");
  zoq::fuzz::read_or_refused([&] {
    const zoq::model_file file = zoq::open_hf_folder(folder.path());
    const zoq::tokenizer words(file);
    zoq::fuzz::expect(words.size() <= 300, "a token beyond the embedding");
    const auto ids =
        words.encode("It was 10 o'clock, \r\n\n  and all 's well.\t", zoq::special::parsed);
    (void)words.decode(ids);
  });
  return 0;
}
