// Text to token ids and back: byte-level byte-pair encoding, all of it from a GGUF file's metadata.
//
//     zoq::tokenizer tokens(file);
//     std::vector<zoq::token_t> ids = tokens.encode("It was great");
//     std::string same = tokens.decode(ids);
//
// A text is cut into words (io/pre_tokenizer.hpp). Each byte of a word is a symbol; of all pairs of
// neighbours the one that stands first in the list of merges is joined (of equal pairs the
// leftmost), until no pair is in the list. Ids are those of llama.cpp's `llama_tokenize`. Sennrich
// et al., arXiv 1508.07909; bytes as symbols: Radford et al., "Language Models are Unsupervised
// Multitask Learners" (GPT-2). Metadata keys: the GGUF specification.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/model_file.hpp"
#include "zoq/io/pre_tokenizer.hpp"

namespace zoq {

class byte_pairs;

/// What `encode` makes of a control token's text, such as "<|im_start|>": plain text, or the token.
enum class special { plain, parsed };

class tokenizer {
 public:
  /// Reads the vocabulary; nothing of the file is kept. Throws `error`, naming file and key, on
  /// another tokenizer than byte-level BPE ("gpt2"), an unknown pre-tokenizer, a token that comes
  /// twice, a merge or special id that does not fit the vocabulary, and more than 2^20 tokens, 2^20
  /// merges or 2^14 special tokens. Memory: near 120 bytes a token and 60 a merge, beside the text.
  explicit tokenizer(const model_file& file);
  /// Moves; what was moved from can only be destroyed or assigned to.
  tokenizer(tokenizer&& other) noexcept;
  /// The same.
  tokenizer& operator=(tokenizer&& other) noexcept;
  ~tokenizer();

  /// The ids of `text` alone: no token is added before or behind. User-defined tokens in the text
  /// are always found; control tokens only when `mode` is special::parsed. Any bytes will do, also
  /// such as are no UTF-8. A byte that the vocabulary has no token for is left out, see spells().
  /// Cost: n log n in the longest word, linear in the rest; a search of the text for each special
  /// token that may be found in it.
  [[nodiscard]] std::vector<token_t> encode(std::string_view text,
                                            special mode = special::plain) const;

  /// As `encode`, with the tokens around it that the file asks for at the ends of a sequence: bos()
  /// when adds_bos(), eos() when adds_eos().
  [[nodiscard]] std::vector<token_t> encode_sequence(std::string_view text,
                                                     special mode = special::plain) const;

  /// The bytes of the tokens, one after another; control tokens as their text. The bytes need not
  /// be UTF-8: a character may be spread over tokens. decode(encode(x)) == x for any x that
  /// spells(x). Throws on an id outside the vocabulary.
  [[nodiscard]] std::string decode(std::span<const token_t> ids) const;

  /// The bytes of one token. Throws on an id outside the vocabulary.
  [[nodiscard]] const std::string& piece(token_t id) const;

  /// True when the vocabulary has a token for every byte of `text`. Many vocabularies lack the
  /// bytes that never stand in UTF-8, some also rare control characters.
  [[nodiscard]] bool spells(std::string_view text) const;

  /// Tokens in the vocabulary.
  [[nodiscard]] index_t size() const { return static_cast<index_t>(pieces_.size()); }
  /// The token that begins a sequence; -1 when the file names none.
  [[nodiscard]] token_t bos() const { return bos_; }
  /// The token that ends a sequence or an answer; -1 when the file names none.
  [[nodiscard]] token_t eos() const { return eos_; }
  /// Whether a sequence begins with bos().
  [[nodiscard]] bool adds_bos() const { return adds_bos_; }
  /// Whether it ends with eos().
  [[nodiscard]] bool adds_eos() const { return adds_eos_; }

 private:
  struct special_token {
    std::string text;
    token_t id;
    bool always;  // user-defined: found in plain text too
  };
  struct fragment {
    std::string_view text;
    token_t token = -1;  // -1: plain text
  };

  void read_tokens(const model_file& file, const std::vector<std::string_view>& texts);

  // Cuts the text at the special tokens: for the longest special token at all its places, then for
  // the next in what is left, and so on.
  [[nodiscard]] std::vector<fragment> fragments(std::string_view text, special mode) const;
  // Which of specials_ occur in a text. Cost: its length times that of the longest match, times log n.
  [[nodiscard]] std::vector<bool> occurring(std::string_view text) const;

  pre_tokenizer pre_;
  std::vector<std::string> pieces_;  // [V], bytes
  std::vector<special_token> specials_;
  std::vector<std::size_t> by_text_;   // numbers of specials_, by their texts
  std::unique_ptr<byte_pairs> pairs_;  // null only when moved from
  token_t bos_ = -1;
  token_t eos_ = -1;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/core/keyed_hash.hpp"
#include "zoq/io/byte_alphabet.hpp"
#include "zoq/io/byte_pairs.hpp"
#include "zoq/io/byte_reader.hpp"

namespace zoq {

namespace detail {

inline constexpr std::uint64_t most_tokens = 1u << 20, most_merges = 1u << 20;
inline constexpr std::size_t most_specials = 1u << 14;
using id_by_text = std::unordered_map<std::string_view, token_t, keyed_hash>;

ZOQ_BODY pre_tokenizer pre_tokenizer_of(const model_file& file) {
  const std::string model = file.get_string("tokenizer.ggml.model");
  require(model == "gpt2", file.path(), ": metadata tokenizer.ggml.model is \"", printable(model),
          "\", zoq reads byte-level BPE, \"gpt2\"");
  const std::string kind =
      file.has("tokenizer.ggml.pre") ? file.get_string("tokenizer.ggml.pre") : "default";
  try {
    return pre_tokenizer(printable(kind));
  } catch (const error& e) {
    fail(file.path(), ": metadata tokenizer.ggml.pre: ", e.what());
  }
}

ZOQ_BODY std::vector<std::string_view> tokenizer_strings(const model_file& file, const char* key,
                                                         std::uint64_t most) {
  require(file.get_count(key) <= most, file.path(), ": metadata ", key, " has ",
          file.get_count(key), " entries, zoq reads up to ", most);
  return file.get_strings(key);
}

// A byte without a token gets a number behind the vocabulary: it takes part in merges and is left
// out of the result.
ZOQ_BODY void read_bytes(const id_by_text& ids, index_t vocabulary, byte_pairs& pairs) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(byte_letter(static_cast<unsigned char>(byte)));
    pairs.set_byte(static_cast<unsigned char>(byte),
                   found != ids.end() ? found->second : static_cast<token_t>(vocabulary + byte));
  }
}

ZOQ_BODY void read_merges(const model_file& file, const id_by_text& ids, byte_pairs& pairs) {
  const std::vector<std::string_view> lines =
      tokenizer_strings(file, "tokenizer.ggml.merges", most_merges);
  const auto symbol_named = [&](std::string_view text) -> token_t {
    const auto found = ids.find(text);
    if (found != ids.end()) {
      return found->second;
    }
    std::string bytes;
    return bytes_of_letters(text, bytes) && bytes.size() == 1 ? pairs.symbol_of(bytes[0]) : -1;
  };
  pairs.reserve(lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::size_t space = lines[i].find(' ', 1);
    require(space != std::string_view::npos, file.path(), ": merge ", i, " \"", printable(lines[i]),
            "\" has no space between its parts");
    const token_t left = symbol_named(lines[i].substr(0, space));
    const token_t right = symbol_named(lines[i].substr(space + 1));
    if (left < 0 || right < 0) {
      continue;  // no word can come to it
    }
    std::string whole(lines[i]);
    whole.erase(space, 1);
    const auto result = ids.find(whole);
    require(result != ids.end(), file.path(), ": merge ", i, " \"", printable(lines[i]),
            "\" makes a token that the vocabulary has not");
    pairs.add_merge(left, right, static_cast<std::uint32_t>(i), result->second);
  }
}

ZOQ_BODY token_t read_special_id(const model_file& file, const char* key, index_t vocabulary) {
  if (!file.has(key)) {
    return -1;
  }
  const std::uint64_t id = file.get_u64(key);
  require(id < static_cast<std::uint64_t>(vocabulary), file.path(), ": metadata ", key, " is ", id,
          ", outside the vocabulary of ", vocabulary);
  return static_cast<token_t>(id);
}

ZOQ_BODY void read_special_flag(const model_file& file, const char* key, token_t id, bool& flag) {
  if (file.has(key)) {
    flag = file.get_bool(key);
  }
  require(!flag || id >= 0, file.path(), ": metadata ", key, " is true, and no id is given for it");
}

}  // namespace detail

ZOQ_BODY tokenizer::tokenizer(const model_file& file)
    : pre_(detail::pre_tokenizer_of(file)), adds_bos_(pre_.adds_bos()) {
  const std::vector<std::string_view> texts =
      detail::tokenizer_strings(file, "tokenizer.ggml.tokens", detail::most_tokens);
  require(!texts.empty(), file.path(), ": metadata tokenizer.ggml.tokens has 0 tokens");
  detail::id_by_text ids;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    require(texts[i].empty() || ids.emplace(texts[i], static_cast<token_t>(i)).second, file.path(),
            ": token \"", printable(texts[i]), "\" comes twice");
  }
  pairs_ = std::make_unique<byte_pairs>(static_cast<index_t>(texts.size()));
  read_tokens(file, texts);
  detail::read_bytes(ids, size(), *pairs_);
  detail::read_merges(file, ids, *pairs_);
  bos_ = detail::read_special_id(file, "tokenizer.ggml.bos_token_id", size());
  eos_ = detail::read_special_id(file, "tokenizer.ggml.eos_token_id", size());
  detail::read_special_flag(file, "tokenizer.ggml.add_bos_token", bos_, adds_bos_);
  detail::read_special_flag(file, "tokenizer.ggml.add_eos_token", eos_, adds_eos_);
}

ZOQ_BODY tokenizer::tokenizer(tokenizer&& other) noexcept = default;
ZOQ_BODY tokenizer& tokenizer::operator=(tokenizer&& other) noexcept = default;
ZOQ_BODY tokenizer::~tokenizer() = default;

ZOQ_BODY std::vector<token_t> tokenizer::encode(std::string_view text, special mode) const {
  std::vector<token_t> out;
  byte_pairs::workspace work;
  for (const fragment& f : fragments(text, mode)) {
    if (f.token >= 0) {
      out.push_back(f.token);
    } else {
      pre_.split(f.text, [&](std::string_view word) { pairs_->encode(word, work, out); });
    }
  }
  return out;
}

ZOQ_BODY std::vector<token_t> tokenizer::encode_sequence(std::string_view text,
                                                         special mode) const {
  std::vector<token_t> out = encode(text, mode);
  if (adds_bos_) {
    out.insert(out.begin(), bos_);
  }
  if (adds_eos_) {
    out.push_back(eos_);
  }
  return out;
}

ZOQ_BODY std::string tokenizer::decode(std::span<const token_t> ids) const {
  std::string out;
  for (const token_t id : ids) {
    out += piece(id);
  }
  return out;
}

ZOQ_BODY const std::string& tokenizer::piece(token_t id) const {
  require(id >= 0 && id < size(), "tokenizer: id ", id, " is outside the vocabulary of ", size());
  return pieces_[static_cast<std::size_t>(id)];
}

ZOQ_BODY bool tokenizer::spells(std::string_view text) const {
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return pairs_->symbol_of(c) < size(); });
}

ZOQ_BODY void tokenizer::read_tokens(const model_file& file,
                                     const std::vector<std::string_view>& texts) {
  enum kind : std::int64_t { unknown = 2, control = 3, user_defined = 4 };  // of the GGUF format
  std::vector<std::int64_t> kinds(texts.size(), 1);
  if (file.has("tokenizer.ggml.token_type")) {
    const std::uint64_t count = file.get_count("tokenizer.ggml.token_type");
    require(count == texts.size(), file.path(), ": metadata tokenizer.ggml.token_type has ", count,
            " entries for ", texts.size(), " tokens");
    kinds = file.get_integers("tokenizer.ggml.token_type");
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const bool is_special = kinds[i] == unknown || kinds[i] == control || kinds[i] == user_defined;
    std::string bytes;
    const bool spelled = bytes_of_letters(texts[i], bytes);
    if (spelled && pre_.takes_whole_words() && !texts[i].empty()) {
      pairs_->add_whole_word(bytes, static_cast<token_t>(i));
    }
    pieces_.push_back(spelled && !is_special ? std::move(bytes) : std::string(texts[i]));
    if (is_special && !texts[i].empty()) {
      specials_.push_back(
          {std::string(texts[i]), static_cast<token_t>(i), kinds[i] == user_defined});
    }
  }
  require(specials_.size() <= detail::most_specials, file.path(), ": ", specials_.size(),
          " special tokens, zoq reads up to ", detail::most_specials);
  // The longest first: "<a><b>" is found before "<a>".
  std::stable_sort(specials_.begin(), specials_.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  by_text_.resize(specials_.size());
  std::iota(by_text_.begin(), by_text_.end(), std::size_t{0});
  std::sort(by_text_.begin(), by_text_.end(),
            [&](std::size_t a, std::size_t b) { return specials_[a].text < specials_[b].text; });
}

ZOQ_BODY std::vector<bool> tokenizer::occurring(std::string_view text) const {
  std::vector<bool> out(specials_.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    // Those that begin as the text does from here, so far as was looked.
    auto first = by_text_.begin(), last = by_text_.end();
    for (std::size_t depth = 0; at + depth < text.size() && first != last; ++depth) {
      const char c = text[at + depth];
      const auto letter = [&](std::size_t number) {  // shorter ones come first
        const std::string& s = specials_[number].text;
        return depth < s.size() ? static_cast<int>(static_cast<unsigned char>(s[depth])) : -1;
      };
      const int wanted = static_cast<unsigned char>(c);
      first = std::partition_point(first, last, [&](std::size_t n) { return letter(n) < wanted; });
      last = std::partition_point(first, last, [&](std::size_t n) { return letter(n) <= wanted; });
      if (first != last && specials_[*first].text.size() == depth + 1) {
        out[*first] = true;
      }
    }
  }
  return out;
}

ZOQ_BODY std::vector<tokenizer::fragment> tokenizer::fragments(std::string_view text,
                                                               special mode) const {
  std::vector<fragment> out = {{text}};
  const std::vector<bool> occurs = occurring(text);
  for (std::size_t i = 0; i < specials_.size(); ++i) {
    const special_token& s = specials_[i];
    if (!occurs[i] || (!s.always && mode == special::plain)) {
      continue;
    }
    std::vector<fragment> finer;
    for (const fragment& f : out) {
      if (f.token >= 0) {
        finer.push_back(f);
        continue;
      }
      std::size_t done = 0;
      for (std::size_t at = f.text.find(s.text); at != std::string_view::npos;
           at = f.text.find(s.text, done)) {
        finer.push_back({f.text.substr(done, at - done)});
        finer.push_back({s.text, s.id});
        done = at + s.text.size();
      }
      finer.push_back({f.text.substr(done)});
    }
    out = std::move(finer);
  }
  return out;
}

}  // namespace zoq

#endif
