// Fixed-width tables.
#include "launch/plan_report.h"

#include "launch/amount.h"

#include <jansson.h>

enum { NAME_WIDTH = 18 };

// --- prices ---

static void print_row(const canto_price_row *row, int cp, bool softmax, FILE *stream)
{
    fprintf(stream, "%c %-*s ", row->chosen ? '*' : ' ', NAME_WIDTH, row->name);
    if (!row->works) {
        fprintf(stream, "cannot work on %d context rank%s\n", cp, canto_plural(cp));
        return;
    }
    fprintf(stream, "%12lld %12s %12s", (long long)row->messages,
            canto_amount_bytes(row->bytes).text,
            canto_amount_bytes(row->part_bytes + row->sum_bytes).text);
    if (softmax) fprintf(stream, " %11.2f", row->busiest);
    fputc('\n', stream);
}

static void print_rows(const char *family, int layers, int n, const canto_price_row *rows, int cp,
                       FILE *stream)
{
    const bool softmax = family[0] == 's';
    if (n == 0) return;
    char heading[40];
    snprintf(heading, sizeof heading, "%s, %d layer%s", family, layers, layers == 1 ? "" : "s");
    fprintf(stream, "\n%-*s %12s %12s %12s%s\n", NAME_WIDTH + 2, heading, "messages", "bytes",
            "buffers", softmax ? "     busiest" : "");
    for (int i = 0; i < n; i++) print_row(&rows[i], cp, softmax, stream);
}

static void print_prices(const canto_plan_report *r, FILE *stream)
{
    const canto_step_price *p = &r->price;
    const canto_config *config = r->config;
    fprintf(stream,
            "%d rank%s: %d replica%s of %d context rank%s, layout %s\n"
            "a step reads %lld x %lld x %lld tokens; %.2f M parameters\n",
            r->ranks, canto_plural(r->ranks), r->dp, canto_plural(r->dp), r->cp,
            canto_plural(r->cp), canto_layout_name((int)config->parallel.layout),
            (long long)config->train.accumulate, (long long)config->train.batch,
            (long long)config->train.seq_len, (double)p->parameters / 1e6);
    print_rows("softmax", p->softmax_layers, p->softmax_n, p->softmax, r->cp, stream);
    print_rows("linear", p->linear_layers, p->linear_n, p->linear, r->cp, stream);
    fprintf(stream, "\n  %-*s %12lld %12s\n", NAME_WIDTH, "gradients",
            (long long)p->gradient_messages, canto_amount_bytes(p->gradient_bytes).text);
    fprintf(stream, "  %-*s %12lld %12s  %s a rank\n\n", NAME_WIDTH, "a step (*)",
            (long long)p->messages, canto_amount_bytes(p->bytes).text,
            canto_amount_bytes(p->bytes / r->ranks).text);
    fprintf(stream,
            "messages and bytes: of all ranks in one step, forward and backward; buffers: of the "
            "rank\nthat keeps most of others' keys, values, sums or states; busiest: pairs of the "
            "busiest\nrank over the mean\n");
}

// --- memory ---

static void print_amounts(const char *what, int64_t least, int64_t most, FILE *stream)
{
    fprintf(stream, "  %-24s %12s %12s\n", what, canto_amount_bytes(least).text,
            canto_amount_bytes(most).text);
}

static void print_memory(const canto_plan_report *r, FILE *stream)
{
    canto_memory_range range;
    canto_memory_join(r->memory_n, r->memory, &range);
    const canto_memory *least = &range.least, *most = &range.most;
    fprintf(stream, "\n%-26s %12s %12s\n", "memory of a rank", "least", "most");
    for (int k = 0; k < CANTO_MEMORY_KINDS; k++)
        print_amounts(canto_memory_name(k), least->kinds[k], most->kinds[k], stream);
    print_amounts("= from the start on", least->arenas, most->arenas, stream);
    print_amounts("while saving, more", least->saving, most->saving, stream);
    if (r->process) print_amounts("the program itself", r->process, r->process, stream);
    print_amounts(r->process ? "= at most" : "= without the program",
                  least->arenas + least->saving + r->process,
                  most->arenas + most->saving + r->process, stream);
    fprintf(stream,
            "a rank's own share of the optimizer, 12 P/W bytes (a value and two moments of each "
            "of its\nparameters; the moments are the line above, the value lies in the "
            "parameters): %s to %s\n",
            canto_amount_bytes(least->owned).text, canto_amount_bytes(most->owned).text);
    if (r->memory_n < r->ranks)
        fprintf(stream,
                "least and most are those of the first two ranks of %d, the middle two and the "
                "last two\n",
                r->ranks);
}

void canto_plan_report_print(const canto_plan_report *report, FILE *stream)
{
    print_prices(report, stream);
    if (report->memory_n > 0) print_memory(report, stream);
}

// --- JSON ---

static json_t *rows_json(int n, const canto_price_row *rows)
{
    json_t *array = json_array();
    for (int i = 0; i < n; i++) {
        const canto_price_row *r = &rows[i];
        json_t *row =
            json_pack("{s:s, s:b, s:b}", "name", r->name, "works", r->works, "chosen", r->chosen);
        if (r->works)
            json_object_update_new(row, json_pack("{s:I, s:I, s:I, s:I, s:f}", "messages",
                                                  (json_int_t)r->messages, "bytes",
                                                  (json_int_t)r->bytes, "part_buffer_bytes",
                                                  (json_int_t)r->part_bytes, "sum_buffer_bytes",
                                                  (json_int_t)r->sum_bytes, "busiest", r->busiest));
        json_array_append_new(array, row);
    }
    return array;
}

static json_t *memory_json(const canto_plan_report *r)
{
    json_t *array = json_array();
    for (int i = 0; i < r->memory_n; i++) {
        const canto_memory *m = &r->memory[i];
        json_t *object =
            json_pack("{s:i, s:I, s:I, s:I}", "rank", m->rank, "arenas", (json_int_t)m->arenas,
                      "saving", (json_int_t)m->saving, "optimizer_share", (json_int_t)m->owned);
        for (int k = 0; k < CANTO_MEMORY_KINDS; k++)
            json_object_set_new(object, canto_memory_name(k),
                                json_integer((json_int_t)m->kinds[k]));
        json_array_append_new(array, object);
    }
    return array;
}

json_t *canto_plan_report_json(const canto_plan_report *r)
{
    const canto_step_price *p = &r->price;
    json_t *object =
        json_pack("{s:i, s:i, s:i, s:s, s:I, s:o, s:o}", "ranks", r->ranks, "dp", r->dp, "cp",
                  r->cp, "layout", canto_layout_name((int)r->config->parallel.layout), "parameters",
                  (json_int_t)p->parameters, "softmax", rows_json(p->softmax_n, p->softmax),
                  "linear", rows_json(p->linear_n, p->linear));
    json_object_set_new(object, "gradients",
                        json_pack("{s:I, s:I}", "messages", (json_int_t)p->gradient_messages,
                                  "bytes", (json_int_t)p->gradient_bytes));
    json_object_set_new(object, "step",
                        json_pack("{s:I, s:I}", "messages", (json_int_t)p->messages, "bytes",
                                  (json_int_t)p->bytes));
    if (r->memory_n > 0) json_object_set_new(object, "memory", memory_json(r));
    if (r->process > 0)
        json_object_set_new(object, "process", json_integer((json_int_t)r->process));
    return object;
}
