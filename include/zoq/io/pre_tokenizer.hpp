// Cuts a text into the words that byte-pair merges never cross: letters, digits, punctuation and
// white space apart, in the manner that `tokenizer.ggml.pre` names in a GGUF file.
//
//     zoq::pre_tokenizer pre("smollm");
//     pre.split("It was 10", [](std::string_view word) { ... });   // "It", " was", " ", "1", "0"
//
// A kind is a list of regular expressions. The first cuts the text into its matches and the gaps
// between them, the next cuts each of those pieces again, and so on; a look-ahead sees no further
// than the end of its piece. The expressions are those of the models' own tokenizers, as llama.cpp
// applies them: white space is the Unicode property White_Space, which is why it is spelled out
// here (PCRE2's \s has U+180E too).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"

namespace zoq {

class pre_tokenizer {
 public:
  /// Throws `error`, naming the kind, when it is not known. Compiles the expressions: some
  /// milliseconds.
  explicit pre_tokenizer(std::string_view kind);
  /// Moves; what was moved from can only be destroyed or assigned to.
  pre_tokenizer(pre_tokenizer&& other) noexcept;
  /// The same.
  pre_tokenizer& operator=(pre_tokenizer&& other) noexcept;
  ~pre_tokenizer();

  /// True when a word that is a token is taken whole, whatever the merges would make of it.
  [[nodiscard]] bool takes_whole_words() const { return family_ == family::llama3; }

  /// True when a file without `tokenizer.ggml.add_bos_token` wants one.
  [[nodiscard]] bool adds_bos() const { return family_ == family::llama3; }

  /// Calls word(std::string_view) for each piece of `text` in turn; together they are `text`, to
  /// the byte. A byte that is no well-formed UTF-8 counts as a symbol that is neither letter, digit
  /// nor white space, as U+FFFD does. Cost: linear in the text.
  void split(std::string_view text, function_ref<void(std::string_view)> word) const;

 private:
  enum class family { gpt2, smollm, llama3, llama3_merges, qwen2, plain };
  struct expressions;  // compiled

  static family find_family(std::string_view kind);

  family family_;
  std::unique_ptr<const expressions> expressions_;
};

}  // namespace zoq

#if ZOQ_BODIES

/// Texts are bytes: 8 bits a unit.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/utf8.hpp"

namespace zoq {

struct pre_tokenizer::expressions {
  struct release {
    void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
    void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
    void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
  };
  using code = std::unique_ptr<pcre2_code, release>;

  explicit expressions(family of);

  static std::vector<std::string> patterns_of(family of);
  static code compile(const std::string& pattern);
  static std::string describe(int number);

  void split_stage(std::size_t stage, std::string_view piece, pcre2_match_data* match,
                   function_ref<void(std::string_view)> word) const;
  bool find(const pcre2_code& stage, std::string_view piece, std::size_t from,
            pcre2_match_data* match) const;

  static constexpr std::uint32_t most_heap = 64 * 1024;  // in KiB, of one match
  std::vector<code> stages;
  std::unique_ptr<pcre2_match_context, release> limits;
};

ZOQ_BODY pre_tokenizer::family pre_tokenizer::find_family(std::string_view kind) {
  struct entry {
    std::string_view kind;
    family of;
  };
  static constexpr entry known[] = {
      {"gpt-2", family::gpt2},         {"phi-2", family::gpt2},
      {"mpt", family::gpt2},           {"olmo", family::gpt2},
      {"smollm", family::smollm},      {"starcoder", family::smollm},
      {"refact", family::smollm},      {"command-r", family::smollm},
      {"codeshell", family::smollm},   {"llama-bpe", family::llama3},
      {"llama3", family::llama3},      {"llama-v3", family::llama3},
      {"falcon3", family::llama3},     {"pixtral", family::llama3},
      {"dbrx", family::llama3_merges}, {"smaug-bpe", family::llama3_merges},
      {"qwen2", family::qwen2},        {"deepseek-r1-qwen", family::qwen2},
      {"megrez", family::qwen2},       {"stablelm2", family::qwen2},
      {"default", family::plain},
  };
  for (const entry& e : known) {
    if (e.kind == kind) {
      return e.of;
    }
  }
  fail("pre-tokenizer \"", kind, "\" is not known");
}

ZOQ_BODY std::vector<std::string> pre_tokenizer::expressions::patterns_of(family of) {
  const std::string s =
      R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  // Unicode 15.1, as llama.cpp has it; PCRE2 10.42 knows version 14, so the rest is added.
  const std::string l =
      R"(\p{L}\x{1123f}\x{11240}\x{11f02}\x{11f04}-\x{11f10}\x{11f12}-\x{11f33}\x{1342f})"
      R"(\x{13441}-\x{13446}\x{1b132}\x{1b155}\x{1df25}-\x{1df2a}\x{1e030}-\x{1e06d})"
      R"(\x{1e4d0}-\x{1e4eb}\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";
  const std::string n = R"(\p{N}\x{11f50}-\x{11f59}\x{1d2c0}-\x{1d2d3}\x{1e4f0}-\x{1e4f9})";
  // White space but for its last character when a word follows, so that the word keeps its space.
  const std::string spaces = "[" + s + "]+(?![^" + s + "])|[" + s + "]+";
  const std::string gpt2 =
      "'(?:[stmd]|re|ve|ll)| ?[" + l + "]+| ?[" + n + "]+| ?[^" + s + l + n + "]+|" + spaces;
  const auto llama3 = [&](const char* digits) {
    return "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\\r\\n" + l + n + "]?[" + l + "]+|[" + n +
           "]" + digits + "| ?[^" + s + l + n + "]+[\\r\\n]*|[" + s + "]*[\\r\\n]+|" + spaces;
  };
  switch (of) {
    case family::gpt2:
      return {gpt2};
    case family::smollm:
      return {"[" + n + "]", gpt2};
    case family::llama3:
    case family::llama3_merges:
      return {llama3("{1,3}")};
    case family::qwen2:
      return {llama3("")};
    default:
      return {R"([\p{P}\x{11b00}-\x{11b09}\x{11f43}-\x{11f4f}$+<=>^~|]+)", gpt2, "[" + n + "]+",
              "[0-9][0-9][0-9]"};
  }
}

ZOQ_BODY pre_tokenizer::expressions::expressions(family of) {
  for (const std::string& pattern : patterns_of(of)) {
    stages.push_back(compile(pattern));
  }
  limits.reset(pcre2_match_context_create(nullptr));
  require(limits != nullptr, "pre-tokenizer: out of memory");
  // The expressions need time linear in the text, and the limit on steps would refuse long runs of white
  // space: it is off. That on memory is for the interpreter, where there is no JIT.
  pcre2_set_match_limit(limits.get(), UINT32_MAX);
  pcre2_set_heap_limit(limits.get(), most_heap);
}

ZOQ_BODY pre_tokenizer::expressions::code pre_tokenizer::expressions::compile(
    const std::string& pattern) {
  int number = 0;
  PCRE2_SIZE offset = 0;
  code out(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF,
                         &number, &offset, nullptr));
  require(out != nullptr, "pre-tokenizer: ", describe(number), " at offset ", offset, " of ",
          pattern);
  pcre2_jit_compile(out.get(), PCRE2_JIT_COMPLETE);  // where there is none, the interpreter runs
  return out;
}

ZOQ_BODY std::string pre_tokenizer::expressions::describe(int number) {
  PCRE2_UCHAR message[256] = {};
  pcre2_get_error_message(number, message, sizeof message);
  return reinterpret_cast<const char*>(message);
}

ZOQ_BODY void pre_tokenizer::expressions::split_stage(
    std::size_t stage, std::string_view piece, pcre2_match_data* match,
    function_ref<void(std::string_view)> word) const {
  if (stage == stages.size()) {
    word(piece);
    return;
  }
  std::size_t done = 0;
  while (done < piece.size()) {
    std::size_t first = piece.size();
    std::size_t last = piece.size();
    if (find(*stages[stage], piece, done, match)) {
      const PCRE2_SIZE* found = pcre2_get_ovector_pointer(match);
      first = found[0];
      last = found[1];
    }
    if (first > done) {
      split_stage(stage + 1, piece.substr(done, first - done), match, word);
    }
    if (last > first) {
      split_stage(stage + 1, piece.substr(first, last - first), match, word);
    }
    done = last;
  }
}

ZOQ_BODY bool pre_tokenizer::expressions::find(const pcre2_code& stage, std::string_view piece,
                                               std::size_t from, pcre2_match_data* match) const {
  const auto subject = reinterpret_cast<PCRE2_SPTR>(piece.data());
  int result =
      pcre2_match(&stage, subject, piece.size(), from, PCRE2_NO_UTF_CHECK, match, limits.get());
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
    result = pcre2_match(&stage, subject, piece.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         match, limits.get());
  }
  require(result >= 0 || result == PCRE2_ERROR_NOMATCH, "pre-tokenizer: ", describe(result));
  return result >= 0;
}

ZOQ_BODY pre_tokenizer::pre_tokenizer(std::string_view kind)
    : family_(find_family(kind)), expressions_(std::make_unique<const expressions>(family_)) {}
ZOQ_BODY pre_tokenizer::pre_tokenizer(pre_tokenizer&& other) noexcept = default;
ZOQ_BODY pre_tokenizer& pre_tokenizer::operator=(pre_tokenizer&& other) noexcept = default;
ZOQ_BODY pre_tokenizer::~pre_tokenizer() = default;

namespace detail {

// One byte for one byte, so that offsets stay: U+0001 is in the same classes as U+FFFD.
ZOQ_BODY std::string replace_invalid(std::string_view text, std::size_t at) {
  std::string out(text);
  while (at < out.size()) {
    const int bytes = read_utf8(text, at).bytes;
    if (bytes == 0) {
      out[at] = '\x01';
    }
    at += static_cast<std::size_t>(bytes == 0 ? 1 : bytes);
  }
  return out;
}

}  // namespace detail

ZOQ_BODY void pre_tokenizer::split(std::string_view text,
                                   function_ref<void(std::string_view)> word) const {
  const index_t bad = first_invalid_utf8(text);
  std::string clean;
  if (bad >= 0) {
    clean = detail::replace_invalid(text, static_cast<std::size_t>(bad));
  }
  const std::string_view subject = bad >= 0 ? std::string_view(clean) : text;
  const std::unique_ptr<pcre2_match_data, expressions::release> match(
      pcre2_match_data_create(1, nullptr));
  require(match != nullptr, "pre-tokenizer: out of memory");
  expressions_->split_stage(0, subject, match.get(), [&](std::string_view piece) {
    word(text.substr(static_cast<std::size_t>(piece.data() - subject.data()), piece.size()));
  });
}

}  // namespace zoq

#endif
