// Checks notes, proofs and tiles with Go's own golang.org/x/mod/sumdb: an implementation that is
// not ours. Each command reads JSON from standard input, or a folder of tiles, and prints JSON.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	commands := map[string]func() (interface{}, error){
		"open": open, "sign": sign, "records": records, "trees": trees, "paths": paths, "log": log,
	}
	answer, err := commands[os.Args[1]]()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(answer)
}

func input(into interface{}) error {
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// open opens notes with the verifier keys given; of each it tells the text and who signed it, or
// what note.Open says against it.
func open() (interface{}, error) {
	var asked []struct {
		Keys []string `json:"keys"`
		Note string   `json:"note"`
	}
	type opened struct {
		Text    string   `json:"text"`
		Signers []string `json:"signers"`
		Unknown []string `json:"unknown"`
		Refused string   `json:"refused"`
	}
	if err := input(&asked); err != nil {
		return nil, err
	}
	answers := []opened{}
	for _, each := range asked {
		answer := opened{Signers: []string{}, Unknown: []string{}}
		var known []note.Verifier
		for _, key := range each.Keys {
			verifier, err := note.NewVerifier(key)
			if err != nil {
				answer.Refused = err.Error()
				break
			}
			known = append(known, verifier)
		}
		if answer.Refused == "" {
			found, err := note.Open([]byte(each.Note), note.VerifierList(known...))
			if err != nil {
				answer.Refused = err.Error()
			} else {
				answer.Text = found.Text
				for _, line := range found.Sigs {
					answer.Signers = append(answer.Signers, line.Name)
				}
				for _, line := range found.UnverifiedSigs {
					answer.Unknown = append(answer.Unknown, line.Name)
				}
			}
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// sign signs texts with Go's own keys.
func sign() (interface{}, error) {
	var asked []struct {
		Key  string `json:"key"`
		Text string `json:"text"`
	}
	if err := input(&asked); err != nil {
		return nil, err
	}
	answers := []string{}
	for _, each := range asked {
		signer, err := note.NewSigner(each.Key)
		if err != nil {
			return nil, err
		}
		signed, err := note.Sign(&note.Note{Text: each.Text}, signer)
		if err != nil {
			return nil, err
		}
		answers = append(answers, string(signed))
	}
	return answers, nil
}

// records asks tlog.CheckRecord of each inclusion proof; the answer is what it says against it.
func records() (interface{}, error) {
	var asked []struct {
		Size   int64    `json:"size"`
		Root   []byte   `json:"root"`
		Index  int64    `json:"index"`
		Record []byte   `json:"record"`
		Hashes [][]byte `json:"hashes"`
	}
	if err := input(&asked); err != nil {
		return nil, err
	}
	answers := []string{}
	for _, each := range asked {
		err := tlog.CheckRecord(
			hashes(each.Hashes), each.Size, hash(each.Root), each.Index, tlog.RecordHash(each.Record),
		)
		answers = append(answers, said(err))
	}
	return answers, nil
}

// trees asks tlog.CheckTree of each consistency proof.
func trees() (interface{}, error) {
	var asked []struct {
		Old     int64    `json:"old"`
		OldRoot []byte   `json:"old_root"`
		New     int64    `json:"new"`
		NewRoot []byte   `json:"new_root"`
		Hashes  [][]byte `json:"hashes"`
	}
	if err := input(&asked); err != nil {
		return nil, err
	}
	answers := []string{}
	for _, each := range asked {
		err := tlog.CheckTree(
			hashes(each.Hashes), each.New, hash(each.NewRoot), each.Old, hash(each.OldRoot),
		)
		answers = append(answers, said(err))
	}
	return answers, nil
}

// paths asks tlog.ParseTilePath of each path of a tile; the answer is level, index and width, or
// nothing for a path that is none.
func paths() (interface{}, error) {
	var asked []string
	if err := input(&asked); err != nil {
		return nil, err
	}
	answers := [][]int64{}
	for _, path := range asked {
		path = strings.Replace(path, "tile/", "tile/8/", 1)
		path = strings.Replace(path, "tile/8/entries/", "tile/8/data/", 1)
		tile, err := tlog.ParseTilePath(path)
		if err != nil {
			answers = append(answers, []int64{})
			continue
		}
		answers = append(answers, []int64{int64(tile.L), tile.N, int64(tile.W)})
	}
	return answers, nil
}

// log reads a whole log as an auditor does, from a folder whose files are named as a box's targets:
// log FOLDER KEY EVERY. It opens the checkpoint, has TileHashReader verify the tiles against it, and
// checks a proof for every EVERYth record and size, each made from the tiles.
func log() (interface{}, error) {
	folder, key := os.Args[2], os.Args[3]
	every, err := strconv.ParseInt(os.Args[4], 10, 64)
	if err != nil {
		return nil, err
	}
	tree, err := checkpoint(folder, key)
	if err != nil {
		return nil, err
	}
	reader := tlog.TileHashReader(tree, tiles(folder))
	if root, err := tlog.TreeHash(tree.N, reader); err != nil || root != tree.Hash {
		return nil, fmt.Errorf("the tiles have another root: %v", err)
	}
	checked := 0
	for index := int64(0); index < tree.N; index++ {
		if index%every != 0 && index != tree.N-1 {
			continue
		}
		record, err := entry(folder, index, tree.N)
		if err != nil {
			return nil, err
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return nil, err
		}
		leaf := tlog.RecordHash(record)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
			return nil, fmt.Errorf("record %d: %v", index, err)
		}
		growth, err := tlog.ProveTree(tree.N, index+1, reader)
		if err != nil {
			return nil, err
		}
		root, err := tlog.TreeHash(index+1, reader)
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckTree(growth, tree.N, tree.Hash, index+1, root); err != nil {
			return nil, fmt.Errorf("size %d: %v", index+1, err)
		}
		checked++
	}
	return map[string]int64{"size": tree.N, "checked": int64(checked)}, nil
}

// checkpoint opens the signed checkpoint. tlog.ParseTree knows only the go.sum database's origin.
func checkpoint(folder, key string) (tree tlog.Tree, err error) {
	data, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return tree, err
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tree, err
	}
	signed, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.SplitN(signed.Text, "\n", 2)
	if lines[0] != verifier.Name() {
		return tree, errors.New("another origin")
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
}

// tiles reads tiles of hashes. Go's paths have the height, which C2SP's leave out: "tile/8/0/000".
type tiles string

func (folder tiles) Height() int { return 8 }

func (folder tiles) ReadTiles(wanted []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range wanted {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		found, err := os.ReadFile(filepath.Join(string(folder), path))
		if err != nil {
			return nil, err
		}
		data = append(data, found)
	}
	return data, nil
}

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// entry returns one record out of its tile.
func entry(folder string, index, size int64) ([]byte, error) {
	tile := tlog.Tile{H: 8, L: -1, N: index / 256, W: 256}
	if size-tile.N*256 < 256 {
		tile.W = int(size - tile.N*256)
	}
	path := "tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/data/")
	data, err := os.ReadFile(filepath.Join(folder, path))
	if err != nil {
		return nil, err
	}
	for i := int64(0); ; i++ {
		if len(data) < 2 {
			return nil, errors.New("the tile of records is cut short")
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, errors.New("the tile of records is cut short")
		}
		if i == index%256 {
			return data[2 : 2+length], nil
		}
		data = data[2+length:]
	}
}

func hash(data []byte) (found tlog.Hash) {
	copy(found[:], data)
	return found
}

func hashes(data [][]byte) (found []tlog.Hash) {
	for _, each := range data {
		found = append(found, hash(each))
	}
	return found
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
