#include "deploy/average.h"

static int add(const struct trained *trained, const struct loss_result *total,
               struct document *summary)
{
    double loss = total->loss_sum / (double)total->count;
    double accuracy = (double)total->correct / (double)total->answers;
    int code = document_put(summary, "average_test_loss", document_real(loss));
    if (code == 0 && trained->info->class_count > 0 && total->answers > 0)
        code = document_put(summary, "average_test_accuracy", document_real(accuracy));
    return code;
}

int average_add(struct trained_spec *spec, struct document *summary, const char *path,
                struct err_msg *why)
{
    struct trained trained;
    struct loss_result total;
    spec->is_average = true;
    spec->part = DATASET_TEST;
    int code = trained_open(spec, &trained, why);
    if (code == 0)
        code = trained_evaluate(&trained, &total, why);
    bool has_test = code != ERR_NOT_FOUND && (code != 0 || total.count > 0);
    if (code == 0 && has_test && add(&trained, &total, summary) != 0)
        code = err_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    if (code == 0 && has_test)
        code = document_save(summary, path, why);
    trained_close(&trained);
    return has_test ? code : 0;
}
