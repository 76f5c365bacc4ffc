module eucad/scripts/genwire

go 1.26.0
