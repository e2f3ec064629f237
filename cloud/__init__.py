"""The cloud tier: aggregates, distils, quantises, gates, signs and releases models. Holds numbers, never pictures."""
