package walk

import (
	"strings"
	"testing"
)

// Quotes, backslashes and brackets at every place of a word, and at the ends of words.
func TestExtentIsThatOfTheValue(t *testing.T) {
	for _, value := range []string{
		`{}`, `[]`, `[[[]],{}]`, `{"a":{"b":[{}]}}`, `[1,2,"x",null,true]`, `["]"]`, `["\"]"]`, `["\\"]`, `["\\\"]"]`, `["\\\\"]`, `["\\\\\\\"]"]`,
		`{"k:{\"type\":\"Ready\"}":{".":{},"f:type":{}}}`, `{"_yY":"_yY\u007f"}`, `["[[[","{{{"]`, `[ "]" , { } ]`,
	} {
		for before := range 17 {
			padded := value[:1] + strings.Repeat(" ", before) + value[1:]
			for _, behind := range []string{"", "]", `"]}"`, `\"\`, strings.Repeat(`,{"a":"b"}`, 3)} {
				if got := extent([]byte(padded + behind)); got != len(padded) {
					t.Errorf("%s: %d", padded+behind, got)
				}
			}
			for end := range len(padded) {
				if got := extent([]byte(padded[:end])); got != 0 {
					t.Errorf("%s: %d, but it does not end", padded[:end], got)
				}
			}
		}
	}
}
