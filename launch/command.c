// The one table of commands, and how names are found in it.
#include "launch/command.h"

#include <string.h>

// clang-format off
const canto_command canto_commands[] = {
    {.name = "train", .positional = "CONFIG [KEY=VALUE...]", .options = "trace trace-steps dry-run ranks json",
     .summary = "start or continue a run",
     .text = "Starts a run, or continues it when its directory holds a checkpoint. "
             "Run it under mpirun for several ranks; the number of ranks may change between starts. "
             "Any key of the configuration can be given on the command line, too. "
             "--trace writes what every rank computed, sent and waited for, and when, in the trace "
             "event format, which ui.perfetto.dev shows. "
             "In a dry run the text, the configuration and the run directory are checked, the "
             "memory and messages of a step are printed, and nothing is written: exit codes as "
             "those of the start.",
     .examples = "canto train launch/configs/tiny.yaml data.path=TEXT run.dir=RUN\n"
                 "mpirun -n 4 canto train launch/configs/quickstart.yaml data.path=TEXT run.dir=RUN\n"
                 "canto train launch/configs/tiny.yaml data.path=TEXT run.dir=RUN --dry-run --ranks 4\n",
     .run = canto_command_train},
    {.name = "plan", .positional = "CONFIG [KEY=VALUE...]", .options = "ranks memory json",
     .summary = "what a step sends and keeps on any number of ranks",
     .text = "Prices every strategy and transport on the given number of ranks, by making the "
             "schedules of all of them: messages and bytes of a step over all ranks, buffers of a "
             "rank. The memory of a rank is found by running the code that takes it. Starts "
             "no other process and reads no more of the text than a step; without data.path every "
             "sequence is one document.",
     .examples = "canto plan launch/configs/quickstart.yaml data.path= --ranks 64 --memory\n",
     .alone = true, .run = canto_command_plan},
    {.name = "eval", .positional = "RUN [KEY=VALUE...]", .options = "step orders json",
     .summary = "bits per byte on held-out text",
     .text = "Bits per byte of a checkpoint on its run's held-out text, read in order; "
             "nats per token and perplexity of a run on shards. "
             "Any number of ranks gives the same result.",
     .examples = "mpirun -n 2 canto eval RUN --orders\n",
     .run = canto_command_eval},
    {.name = "generate", .positional = "RUN", .options = "prompt tokens temperature top-k seed step",
     .summary = "write text",
     .text = "Writes text that follows a prompt, from a checkpoint of a run. One process.",
     .examples = "canto generate RUN -p \"In the beginning\" -n 400 --temperature 0.7\n",
     .alone = true, .run = canto_command_generate},
    {.name = "doctor", .positional = "[DIR]", .options = "json",
     .summary = "whether this machine and these ranks are fit for a run",
     .text = "Looks at everything that a run needs, and says what to do about each problem: build and "
             "processor, cores, threads, memory, stack, MPI, HDF5, the directory DIR (or this one) "
             "where runs are to be written, BLAS, devices. Under mpirun every rank looks, and the "
             "ranks look at each other. Ends with exit code 1 if something does not work.",
     .examples = "canto doctor\nmpirun -n 4 canto doctor /scratch/me\n",
     .run = canto_command_doctor},
    {.name = "bench attention", .positional = "", .options = "pairs check json",
     .summary = "softmax attention beside matrix products",
     .text = "Times the small products of the kernels, and softmax attention forward and backward, on one thread. "
             "Every figure is a ratio to something measured in the same process, in turns with it: "
             "the median of --pairs pairs, with its 10-90 % range. With --check a figure below its "
             "floor ends with exit code 1 and is told with what bounds it; so does a run that is "
             "void because the machine was too busy.",
     .examples = "canto bench attention\n",
     .alone = true, .run = canto_command_bench_attention},
    {.name = "bench linear", .positional = "", .options = "pairs check json",
     .summary = "linear attention beside matrix products",
     .text = "Times linear attention with every kind of gate, forward and backward, on one thread; long sequences beside short ones; and softmax attention beside it. "
             "Every figure is a ratio to something measured in the same process, in turns with it: "
             "the median of --pairs pairs, with its 10-90 % range. With --check a figure below its "
             "floor ends with exit code 1 and is told with what bounds it; so does a run that is "
             "void because the machine was too busy.",
     .examples = "canto bench linear\n",
     .alone = true, .run = canto_command_bench_linear},
    {.name = "bench step", .positional = "", .options = "pairs check json",
     .summary = "a training step and its parts",
     .text = "Times a training step of 11 M parameters beside the FMA roof of all threads, and what is not a product beside the memory roof. "
             "Every figure is a ratio to something measured in the same process, in turns with it: "
             "the median of --pairs pairs, with its 10-90 % range. With --check a figure below its "
             "floor ends with exit code 1 and is told with what bounds it; so does a run that is "
             "void because the machine was too busy.",
     .examples = "canto bench step\n",
     .alone = true, .run = canto_command_bench_step},
    {.name = "bench decode", .positional = "", .options = "pairs check json",
     .summary = "decoding beside the read roof",
     .text = "Times the attention of one new token: what it reads and writes beside what a core can read. "
             "Every figure is a ratio to something measured in the same process, in turns with it: "
             "the median of --pairs pairs, with its 10-90 % range. With --check a figure below its "
             "floor ends with exit code 1 and is told with what bounds it; so does a run that is "
             "void because the machine was too busy.",
     .examples = "canto bench decode\n",
     .alone = true, .run = canto_command_bench_decode},
    {.name = "bench roofs", .positional = "", .options = "pairs check json",
     .summary = "what this machine can do at most",
     .text = "Times loops that do one thing only: multiply and add in registers, read, read and write; and the BLAS library. "
             "Every figure is a ratio to something measured in the same process, in turns with it: "
             "the median of --pairs pairs, with its 10-90 % range. With --check a figure below its "
             "floor ends with exit code 1 and is told with what bounds it; so does a run that is "
             "void because the machine was too busy.",
     .examples = "canto bench roofs\n",
     .alone = true, .run = canto_command_bench_roofs},
    {.name = "ckpt ls", .positional = "RUN", .options = "step json",
     .summary = "list the checkpoints of a run",
     .text = "Lists the checkpoints of a run: step, shards, tensors, bytes, time.",
     .alone = true, .run = canto_command_ckpt_ls},
    {.name = "ckpt verify", .positional = "RUN", .options = "step json",
     .summary = "check every byte of a run's checkpoints",
     .text = "Reads every byte of the checkpoints of a run and compares it with the checksums that "
             "were written. Ends with exit code 3 if one is damaged.",
     .alone = true, .run = canto_command_ckpt_verify},
    {.name = "ckpt diff", .positional = "CHECKPOINT CHECKPOINT", .options = "json",
     .summary = "what differs between two checkpoints",
     .text = "Compares two checkpoints, written by any numbers of ranks: keys of the configuration, "
             "and tensors by shape and element by element. Keys that a run may change between "
             "starts are told and do not count. Ends with exit code 0 if the checkpoints hold the "
             "same, 1 if they differ and 3 if one is damaged.",
     .examples = "canto ckpt diff RUN@100 RUN@200\n",
     .alone = true, .run = canto_command_ckpt_diff},
    {.name = "config show", .positional = "[CONFIG] [KEY=VALUE...]", .options = "json",
     .summary = "every key with its value and where that comes from",
     .text = "Shows every key of a configuration with its value and where the value comes from: the "
             "file and line, the command line, or the default.",
     .examples = "canto config show launch/configs/tiny.yaml train.lr=0.001\n",
     .alone = true, .run = canto_command_config_show},
    {.name = "config keys", .positional = "", .options = "json",
     .summary = "every key with its meaning",
     .text = "Lists every key of a configuration with its type, range or choices, default and "
             "meaning.",
     .alone = true, .run = canto_command_config_keys},
    {.name = "plot", .positional = "RUN", .options = "output json",
     .summary = "loss, speed and times of a run as SVG",
     .text = "Draws from a run's metrics, as SVG files in RUN/plots: the loss in training and on "
             "held-out text, tokens per second, and what the ranks spend on computing and waiting. "
             "What is drawn lies beside them as CSV. Needs gnuplot, but not for --json.",
     .examples = "canto plot RUN --output /tmp/plots\n"
                 "canto plot RUN --json\n",
     .alone = true, .run = canto_command_plot},
    {.name = "man", .positional = "[COMMAND] [WORD]",
     .summary = "a manual page",
     .text = "Prints the manual page of the program, or of one of its commands.",
     .examples = "canto man train | man -l -\n",
     .alone = true, .run = canto_command_man},
    {.name = "completion bash", .positional = "",
     .summary = "completion of this program's command lines",
     .text = "Prints what makes bash complete commands, options, keys of the configuration and their "
             "choices. A package installs it.",
     .examples = "eval \"$(canto completion bash)\"\n",
     .alone = true, .run = canto_command_completion_bash},
    {.name = NULL},
};
// clang-format on

const canto_word canto_words[] = {
    {"CONFIG", CANTO_COMPLETES_FILE, "a configuration: a YAML file"},
    {"RUN", CANTO_COMPLETES_DIRECTORY, "the directory of a run"},
    {"CHECKPOINT", CANTO_COMPLETES_DIRECTORY,
     "the directory of a run, whose newest good checkpoint is meant, or RUN@STEP or "
     "RUN@best"},
    {"KEY=VALUE", CANTO_COMPLETES_KEY,
     "a key of the configuration and its value, before which the file's gives way; `canto config "
     "keys` lists them"},
    {"COMMAND", CANTO_COMPLETES_COMMAND, "the first word of a command's name"},
    {"WORD", CANTO_COMPLETES_NOTHING, "the second word of its name"},
    {"FILE", CANTO_COMPLETES_FILE, NULL},
    {"DIR", CANTO_COMPLETES_DIRECTORY, NULL},
    {.word = NULL},
};

int canto_command_group(const canto_command *command)
{
    return (int)strcspn(command->name, " ");
}

bool canto_command_in_group(const canto_command *command, const char *group)
{
    const size_t length = (size_t)canto_command_group(command);
    return strlen(group) == length && strncmp(command->name, group, length) == 0;
}

bool canto_command_begins_group(const canto_command *command)
{
    const int length = canto_command_group(command);
    if (command == canto_commands) return true;
    return canto_command_group(command - 1) != length ||
           strncmp(command[-1].name, command->name, (size_t)length) != 0;
}

bool canto_command_is_group(const char *name)
{
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (canto_command_in_group(c, name) && strchr(c->name, ' ')) return true;
    }
    return false;
}

const canto_command *canto_command_find(int argc, char **argv, int *taken)
{
    for (const canto_command *c = canto_commands; argc > 1 && c->name; c++) {
        if (!canto_command_in_group(c, argv[1])) continue;
        const char *second = strchr(c->name, ' ');
        *taken = second ? 2 : 1;
        if (!second || (argc > 2 && strcmp(second + 1, argv[2]) == 0)) return c;
    }
    return NULL;
}

bool canto_command_takes(const canto_command *command, const canto_option *option)
{
    const size_t length = strlen(option->name);
    for (const char *at = command->options; at && *at;) {
        const size_t n = strcspn(at, " ");
        if (n == length && strncmp(at, option->name, n) == 0) return true;
        at += n + strspn(at + n, " ");
    }
    return false;
}

const canto_word *canto_word_find(const char *word, size_t length)
{
    for (const canto_word *w = canto_words; w->word; w++) {
        if (strlen(w->word) == length && strncmp(w->word, word, length) == 0) return w;
    }
    return NULL;
}

bool canto_positional_next(const char **at, canto_positional *out)
{
    *at += strspn(*at, " ");
    const size_t whole = strcspn(*at, " ");
    if (whole == 0) return false;
    *out = (canto_positional){.word = *at, .length = whole, .optional = **at == '['};
    if (out->optional) {
        out->word++;
        out->length = strcspn(out->word, ".]");
        out->repeated = out->word[out->length] == '.';
    }
    *at += whole;
    return true;
}
