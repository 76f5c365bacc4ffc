package main

import (
	"fmt"
	"slices"
	"strings"
)

// decodeFunc names the method of query.Decoder, and the encoder, of a scalar.
func decodeFunc(typ string) string {
	return map[string]string{"string": "String", "int": "Int", "bool": "Bool", "float": "Float", "time": "Time", "blob": "Blob"}[typ]
}

func (g *generator) decoders() {
	g.p("\npackage wire\n\nimport \"eucad/api/query\"\n\n")
	for _, s := range sortedKeys(g.in) {
		g.decoder(s)
	}
}

// decoder writes the DecodeQuery method of a struct.
func (g *generator) decoder(s string) {
	g.p("// DecodeQuery fills v from the parameters below n.\nfunc (v *%s) DecodeQuery(d *query.Decoder, n *query.Node) {\n", s)
	g.p("kids := d.Members(n)\nfor i := range kids {\n")
	members := slices.DeleteFunc(slices.Clone(g.Structs[s]), func(m Member) bool { return m.In == "" })
	if len(members) == 0 {
		g.p("d.Unknown(&kids[i])\n}\n}\n\n")
		return
	}
	g.p("c := &kids[i]\nswitch c.Name {\n")
	for _, m := range members {
		g.p("case %q:\n", m.In)
		switch {
		case strings.HasPrefix(m.Type, "[]"):
			g.decodeList("v."+m.Name, m.Type, "c", 0)
		case scalars[m.Type] != "":
			g.p("v.%s = d.%s(c)\n", m.Name, decodeFunc(m.Type))
		default:
			g.p("v.%s = new(%s)\nv.%s.DecodeQuery(d, c)\n", m.Name, m.Type, m.Name)
		}
	}
	g.p("default:\nd.Unknown(c)\n}\n}\n")
	for _, m := range members {
		if m.Must {
			g.p("if v.%s == nil {\nd.Missing(n, %q)\n}\n", m.Name, m.In)
		}
	}
	g.p("}\n\n")
}

func (g *generator) decodeList(dst, typ, node string, depth int) {
	elem := typ[2:]
	list, i := fmt.Sprintf("list%d", depth), fmt.Sprintf("j%d", depth)
	item := fmt.Sprintf("&%s[%s]", list, i)
	g.p("%s := d.List(%s)\n", list, node)
	switch {
	case strings.HasPrefix(elem, "[]"):
		g.p("%s = make(%s, len(%s))\nfor %s := range %s {\n", dst, goType(typ), list, i, list)
		g.decodeList(fmt.Sprintf("%s[%s]", dst, i), elem, item, depth+1)
		g.p("}\n")
	case elem == "blob":
		g.p("for %s := range %s {\n%s = append(%s, d.Blob(%s))\n}\n", i, list, dst, dst, item)
	case elem == "string":
		g.p("%s = d.Strings(%s)\n", dst, list)
	case scalars[elem] != "":
		g.p("for %s := range %s {\nif e := d.%s(%s); e != nil {\n%s = append(%s, *e)\n}\n}\n", i, list, decodeFunc(elem), item, dst, dst)
	default:
		g.p("%s = make(%s, len(%s))\nfor %s := range %s {\n%s[%s].DecodeQuery(d, %s)\n}\n", dst, goType(typ), list, i, list, dst, i, item)
	}
}

func (g *generator) encoders() {
	g.p("\npackage wire\n\nimport \"eucad/api/query\"\n\n")
	for _, s := range sortedKeys(g.out) {
		g.encoder(s)
	}
}

// encoder writes the AppendXML method of a struct. The answer of an action that
// lists things gets StreamXML too, which AppendXML is a case of.
func (g *generator) encoder(s string) {
	op, isOutput := strings.CutSuffix(s, "Output")
	top := isOutput && slices.Contains(g.Actions, op)
	members := slices.DeleteFunc(g.sorted(s, g.Structs[s]), func(m Member) bool { return m.Out == "" })
	if top && slices.ContainsFunc(members, g.listsStructs) {
		g.p("// AppendXML appends the elements of v to b.\nfunc (v *%s) AppendXML(b []byte) []byte {\nreturn v.StreamXML(b, query.Keep)\n}\n\n", s)
		g.p("// StreamXML does the same, but passes b through flush after each item of a list.\nfunc (v *%s) StreamXML(b []byte, flush func([]byte) []byte) []byte {\n", s)
	} else {
		g.p("// AppendXML appends the elements of v to b.\nfunc (v *%s) AppendXML(b []byte) []byte {\n", s)
	}
	if slices.Contains(g.raw, s) {
		g.p("if v.XML != nil {\nreturn append(b, v.XML...)\n}\n")
	}
	if top && g.Protocol == "ec2" && (len(members) == 0 || slices.Contains(g.yes, op)) {
		g.p("b = append(b, \"<return>true</return>\"...)\n")
	}
	for _, m := range members {
		open, shut := "<"+m.Out+">", "</"+m.Out+">"
		switch {
		case strings.HasPrefix(m.Type, "[]"):
			g.encodeList(m, top, top && !slices.Contains(g.asked[s], m.Out) || slices.Contains(g.always[s], m.Out))
		case m.Type == "bool" && m.Out == "return" && top:
			g.p("if v.%s == nil {\nb = append(b, \"<return>true</return>\"...)\n}\n", m.Name)
			fallthrough
		case scalars[m.Type] != "":
			g.p("b = query.Append%s(b, %q, v.%s, %q)\n", decodeFunc(m.Type), open, m.Name, shut)
		default:
			g.p("if v.%s != nil {\nb = append(b, %q...)\nb = v.%s.AppendXML(b)\nb = append(b, %q...)\n}\n", m.Name, open, m.Name, shut)
		}
	}
	g.p("return b\n}\n\n")
}

// listsStructs tells whether a member is a list of structs.
func (g *generator) listsStructs(m Member) bool {
	elem, ok := strings.CutPrefix(m.Type, "[]")
	return ok && g.Structs[elem] != nil
}

// encodeList writes a list with its wrapping element; top tells that it may be flushed between items.
func (g *generator) encodeList(m Member, top, always bool) {
	open, shut, empty := "<"+m.Out+">", "</"+m.Out+">", "<"+m.Out+"/>"
	g.p("if len(v.%s) > 0 {\nb = append(b, %q...)\n", m.Name, open)
	after := ""
	if top && g.listsStructs(m) {
		after = "b = flush(b)\n"
	}
	g.encodeItems("v."+m.Name, m.Type, strings.Split(m.Item, "/"), after, 0)
	g.p("b = append(b, %q...)\n", shut)
	if always {
		g.p("} else {\nb = append(b, %q...)\n}\n", empty)
	} else {
		g.p("} else if v.%s != nil {\nb = append(b, %q...)\n}\n", m.Name, empty)
	}
}

// encodeItems writes the loop over a list; after is the last statement in it.
func (g *generator) encodeItems(src, typ string, path []string, after string, depth int) {
	elem, i := typ[2:], fmt.Sprintf("i%d", depth)
	open, shut := "<"+path[0]+">", "</"+path[0]+">"
	g.p("for %s := range %s {\n", i, src)
	at := fmt.Sprintf("%s[%s]", src, i)
	switch {
	case strings.HasPrefix(elem, "[]"):
		g.p("b = append(b, %q...)\n", open)
		g.encodeItems(at, elem, path[1:], "", depth+1)
		g.p("b = append(b, %q...)\n", shut)
	case elem == "blob":
		g.p("b = query.AppendBlob(b, %q, %s, %q)\n", open, at, shut)
	case scalars[elem] != "":
		g.p("b = query.Append%s(b, %q, &%s, %q)\n", decodeFunc(elem), open, at, shut)
	default:
		g.p("b = append(b, %q...)\nb = %s.AppendXML(b)\nb = append(b, %q...)\n", open, at, shut)
	}
	g.p("%s}\n", after)
}
