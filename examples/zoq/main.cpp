// zoq: tunes, evaluates and looks at quantised language models, by forward passes alone.
//
//     zoq finetune --model model.gguf --data DIR --mask fisher:text.txt --out RUN
//
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <zoq/io/byte_reader.hpp>
#include <zoq/io/shrunk_file.hpp>

#include "command.hpp"
#include "config_file.hpp"
#include "interrupt.hpp"
#include "together.hpp"

namespace {

struct command {
  const char* name;
  const char* summary;
  int (*run)(CLI::App&, const std::function<void()>&);
};

constexpr command commands[] = {
    {"finetune", "Tune a model on rows of data, and measure what it learned", zoq::cli::finetune},
#ifndef ZOQ_WITH_MPI  // zoq-mpi has the one command that its processes share
    {"mask", "Choose the weights to tune: the most sensitive ones", zoq::cli::make_mask},
    {"eval", "Accuracy and loss on rows of data", zoq::cli::eval},
    {"inspect", "A model's shape and formats; tokens, logits and loss of a text",
     zoq::cli::inspect},
    {"generate", "Go on with a text", zoq::cli::generate},
    {"quantize", "Write a model with its matrices in another format", zoq::cli::quantize},
    {"export", "Write a tuned model or an adapter for other programs", zoq::cli::export_model},
    {"plan", "The memory that tuning will need, by part; refuse what a budget does not hold",
     zoq::cli::plan},
    {"policies", "The policies of every slot by name: what each does, costs, and where it is from",
     zoq::cli::policies},
    {"replay", "Make a run's delta again from its record, without a forward pass",
     zoq::cli::replay},
    {"report", "A page with pictures of one run, or of several side by side", zoq::cli::report},
#endif
};

void print_usage(std::FILE* to) {
  std::fprintf(to, "usage: zoq COMMAND [OPTIONS]     (zoq COMMAND --help lists the options)\n\n");
  for (const command& c : commands) {
    std::fprintf(to, "  %-10s %s\n", c.name, c.summary);
  }
  std::fprintf(to, "\nzoq %s\n", ZOQ_VERSION);
}

/// The line of an error. It may hold whatever bytes a file or the command line has.
std::string one_line(const std::string& message) { return zoq::printable(message, 2000); }

int say(int code, const char* name, const std::string& message) {
  if (zoq::cli::leads() || code == 1) {  // what is wrong usage is so for all processes
    std::fprintf(stderr, "zoq %s: %s%s\n", name, zoq::cli::who().c_str(),
                 one_line(message).c_str());
  }
  return code;
}

// A file that became shorter while it was read: its name, and the exit code of any error. From a signal
// handler, so by write(2) alone. What a run has saved is whole: --resume goes on with it.
void say_shrunk(const char* path) noexcept {
  for (const char* part :
       {"zoq: ", path, ": the file became shorter while it was read; it must stay as it is\n"}) {
    if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) {
      break;
    }
  }
  ::_exit(1);
}

int run(const command& c, int argc, char** argv) {
  CLI::App app{c.summary, std::string("zoq ") + c.name};
  app.option_defaults()->always_capture_default(false);
  app.config_formatter(std::make_shared<zoq::cli::config_file>(app));
  app.set_config("--config", "", "Read options from a TOML file; the command line wins")
      ->check(zoq::cli::config_file::regular_file());
  app.allow_config_extras(false);
  try {
    return c.run(app, [&] { app.parse(argc, argv); });
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::ParseError& e) {
    for (const CLI::Option* option : app.get_options()) {
      if (option->results().size() > 1 && option->get_items_expected_max() == 1) {
        return say(2, c.name, option->get_name() + " is given twice");
      }
    }
    return say(2, c.name, e.what());
  } catch (const zoq::cli::stopped& e) {
    return say(128 + e.signal, c.name, e.what());
  } catch (const std::bad_alloc&) {
    return say(1, c.name, "out of memory");
  } catch (const std::exception& e) {
    return say(1, c.name, e.what());
  }
}

/// `code`, or 1 when standard output did not take what was written: a result that is cut is none.
int with_output(int code, const char* name) {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) {
    return code;
  }
  return say(code == 0 ? 1 : code, name, "standard output cannot be written, or is full");
}

// Standard input, output and error that came closed would be the first files that are opened, and what is meant for
// people would be written into these.
void keep_descriptors() {
  int opened = 0;
  while ((opened = ::open("/dev/null", O_RDONLY)) >= 0 && opened <= STDERR_FILENO) {
  }
  ::close(opened);
}

int run_command(int argc, char** argv) {
  // A limit on the size of files is an error like a full disk, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  // Who reads our output may leave: a run goes on, and says at its end that it was cut.
  std::signal(SIGPIPE, SIG_IGN);
  zoq::when_a_file_shrinks(say_shrunk);
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  for (const command& c : commands) {
    if (std::strcmp(argv[1], c.name) == 0) {
      return with_output(run(c, argc - 1, argv + 1), c.name);
    }
  }
  if (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0 ||
      std::strcmp(argv[1], "help") == 0) {
    print_usage(stdout);
    return with_output(0, argv[1]);
  }
  if (std::strcmp(argv[1], "--version") == 0) {
    std::printf("zoq %s\n", ZOQ_VERSION);
    return with_output(0, argv[1]);
  }
  std::fprintf(stderr, "zoq: there is no command \"%s\"\n\n", one_line(argv[1]).c_str());
  print_usage(stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  keep_descriptors();
  const zoq::cli::processes all(&argc, &argv);
  return zoq::cli::processes::end(run_command(argc, argv));
}
