#include "worker/data/vocabulary.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The place where word stands, or would. */
static size_t place_of(const struct vocabulary *vocabulary, const char *word, bool *is_there_out)
{
    size_t low = 0, high = vocabulary->word_count;
    *is_there_out = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(vocabulary->words[middle], word);
        if (order == 0) {
            *is_there_out = true;
            return middle;
        }
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return low;
}

int vocabulary_add(struct vocabulary *vocabulary, const char *word)
{
    bool is_there = false;
    size_t place = place_of(vocabulary, word, &is_there);
    if (is_there)
        return 0;
    if (vocabulary->word_count == VOCABULARY_WORDS_MAX)
        return ERR_FULL;
    if (vocabulary->word_count == vocabulary->room) {
        size_t room = vocabulary->room ? vocabulary->room * 2 : 16;
        char **words = realloc(vocabulary->words, room * sizeof(*words));
        if (!words)
            return ERR_NOMEM;
        vocabulary->words = words;
        vocabulary->room = room;
    }
    char *copy = strdup(word);
    if (!copy)
        return ERR_NOMEM;
    char **at = vocabulary->words + place;
    memmove(at + 1, at, (vocabulary->word_count - place) * sizeof(*at));
    *at = copy;
    vocabulary->word_count++;
    return 0;
}

long vocabulary_find(const struct vocabulary *vocabulary, const char *word)
{
    bool is_there = false;
    size_t place = place_of(vocabulary, word, &is_there);
    return is_there ? (long)place : -1;
}

void vocabulary_clear(struct vocabulary *vocabulary)
{
    for (size_t i = 0; i < vocabulary->word_count; i++)
        free(vocabulary->words[i]);
    free(vocabulary->words);
    *vocabulary = (struct vocabulary){0};
}
