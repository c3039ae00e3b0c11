// Reads boards by the schema that Grafana publishes of them, and says what it does not know, what is missing and what is out of bounds.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func wrong(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var strict, board dashboard.Dashboard
	if err := some(strict.UnmarshalJSONStrict(raw)); err != nil {
		return err
	}
	// Read again: the strict reader leaves parts out that it has found nothing wrong with.
	if err := json.Unmarshal(raw, &board); err != nil {
		return err
	}
	return some(board.Validate())
}

// A list of no errors is an error in Go as long as its type is known.
func some(err error) error {
	var found cog.BuildErrors
	if errors.As(err, &found) && len(found) == 0 {
		return nil
	}
	return err
}

func main() {
	// The schemas of the panels and of the one source that the boards use; any other is read without one.
	known := cog.NewRuntime()
	known.RegisterPanelcfgVariant(stat.VariantConfig())
	known.RegisterPanelcfgVariant(table.VariantConfig())
	known.RegisterPanelcfgVariant(timeseries.VariantConfig())
	known.RegisterDataqueryVariant(prometheus.VariantConfig())
	failed := 0
	for _, file := range os.Args[1:] {
		if err := wrong(file); err != nil {
			fmt.Printf("%s: %v\n", file, err)
			failed = 1
		}
	}
	os.Exit(failed)
}
