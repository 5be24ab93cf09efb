package sandbox

import (
	"fmt"
	"strings"
)

// person is somebody who works in the organisation.
type person struct {
	id, name string
}

// actor is who does something: a person, an OAuth client, or the system.
type actor struct {
	person
	clientID    string // set: an OAuth client acted, and there is no user
	homeOrg     string // set: the person comes from another organisation, a trustee
	ip          string
	application string
	system      bool
}

// world is the organisation's cast and everything that happens in it; it is
// fixed by the seed.
type world struct {
	seed     uint64
	orgID    string
	admins   []*actor
	trustees []*actor // of an organisation that is trusted
	robot    *actor   // an OAuth client that deploys in bulk
	stand    *actor   // an OAuth client whose id stands where a user's belongs
	system   *actor

	people    []person
	users     []object // people and admins as the directory has them
	divisions []object
	groups    []object
	clients   []object
	queues    []object
	roles     []object
	gone      []object // roles that were deleted: nothing tells their names any more
	skills    []object

	scenes []*scene // each as often as it is likely
	noise  []*scene // synchronisation: nothing but a version
	grants []*scene // who got which role: what an auditor looks for first
	deploy []*scene // what a bulk deployment is made of
	logins []*scene // events of another type, which the usual filter hides
}

var adminNames = []string{
	"Ana Lima", "Ben Okafor", "Chloé Dubois", "Dmitri Volkov", "Elif Yılmaz", "Farid Haddad",
	"Grace Kim", "Henrik Sørensen", "Ines Moreno", "José Ñáñez", "Kavya Raman", "李娜",
}

var givenNames = []string{
	"Aisha", "Bruno", "Carla", "David", "Emma", "Felipe", "Giulia", "Hugo", "Ida", "Jonas",
	"Katja", "Liam", "Mária", "Noah", "Olga", "Pavel", "Quentin", "Rosa", "Søren", "Tomás",
}

var familyNames = []string{
	"Andersson", "Bauer", "Costa", "D'Souza", "Evans", "Fischer", "García", "Hansen", "O'Brien", "Zhang",
}

// deletedPeople is how many of the people have left: the directory still serves
// them, with another state.
const deletedPeople = 15

func newWorld(seed uint64) *world {
	w := &world{seed: seed}
	d := roll(seed, 1<<62)
	id := func() string { return string(d.uuid(nil)) }
	w.orgID = id()
	for i, name := range adminNames {
		w.admins = append(w.admins, &actor{
			person:      person{id(), name},
			ip:          fmt.Sprint("203.0.113.", 10+i),
			application: pick(&d, []string{"Genesys Cloud Admin", "Architect", "Public API"}),
		})
	}
	partner := id()
	for i, name := range []string{"Nora Partner", "Oskar Partner"} {
		w.trustees = append(w.trustees, &actor{person: person{id(), name}, homeOrg: partner, ip: fmt.Sprint("192.0.2.", 20+i)})
	}
	w.system = &actor{system: true}
	for _, given := range givenNames {
		for _, family := range familyNames {
			w.people = append(w.people, person{id(), given + " " + family})
		}
	}
	w.divisions = w.newDivisions(&d)
	w.users = w.newUsers(&d)
	w.skills = w.newSkills(&d)
	w.queues = w.newQueues(&d)
	w.roles, w.gone = w.newRoles(&d)
	w.groups = w.newGroups(&d)
	w.clients = w.newClients(&d)
	w.robot = &actor{clientID: w.clients[0].get("id").(string), ip: "198.51.100.7", application: "CX as Code"}
	w.stand = &actor{person: person{id: w.clients[1].get("id").(string)}, ip: "198.51.100.8"}

	w.routingScenes(&d)
	w.peopleScenes(&d)
	w.securityScenes(&d)
	w.groupScenes(&d)
	w.platformScenes(&d)
	w.quietScenes(&d)
	return w
}

func (w *world) newDivisions(d *dice) []object {
	var divisions []object
	for i, name := range []string{"Home", "Berlin", "Dublin", "São Paulo"} {
		id := w.id(d)
		divisions = append(divisions, obj("id", id, "name", name, "description", "", "homeDivision", i == 0,
			"selfUri", "/api/v2/authorization/divisions/"+id))
	}
	return divisions
}

// newUsers are the people and the admins; the last of the people have left.
func (w *world) newUsers(d *dice) []object {
	all := w.people
	for _, a := range w.admins {
		all = append(all[:len(all):len(all)], a.person)
	}
	var users []object
	for i, p := range all {
		state, division := "active", w.divisions[d.n(len(w.divisions))]
		if i < len(w.people) && i >= len(w.people)-deletedPeople {
			state = "deleted"
		}
		email := strings.ToLower(strings.NewReplacer(" ", ".", "'", "").Replace(p.name)) + "@example.com"
		users = append(users, obj("id", p.id, "name", p.name,
			"division", obj("id", division.get("id"), "name", division.get("name"), "selfUri", division.get("selfUri")),
			"chat", obj("jabberId", p.id[:8]+"@sandbox.orgspan.com"), "email", email, "username", email,
			"title", "Agent", "department", "Customer Care", "state", state,
			"addresses", array{obj("type", "WORK", "mediaType", "PHONE", "address", fmt.Sprint("+4930555", 1000+d.n(9000)))},
			"version", 1+d.n(40), "acdAutoAnswer", false, "selfUri", "/api/v2/users/"+p.id))
	}
	return users
}

// systemShares is how much of a service's events the system does, as measured in
// live organisations; in Directory it is nearly all, which is the noise.
var systemShares = map[string]float64{"ContactCenter": 0.44, "Directory": 0.6}

// grantsBySystem is the share of role grants and removals that name nobody.
const grantsBySystem = 0.8

// actorOf chooses who does a scene.
func (w *world) actorOf(s *scene, d *dice) *actor {
	share := systemShares[s.service]
	if s.grant {
		share = grantsBySystem
	}
	switch {
	case s.bySystem, d.chance(share):
		return w.system
	case s.by != nil:
		return s.by
	case d.chance(0.07):
		return w.robot
	case d.chance(0.05):
		return w.stand
	case d.chance(0.03):
		return pick(d, w.trustees)
	}
	return pick(d, w.admins)
}

// often adds scenes, each weighing as much as times says.
func (w *world) often(times int, scenes ...*scene) {
	for range times {
		w.scenes = append(w.scenes, scenes...)
	}
}

func (w *world) id(d *dice) string { return string(d.uuid(nil)) }

// ids is a list of n people's ids.
func (w *world) ids(d *dice, n int) array {
	ids := make(array, n)
	for i := range ids {
		ids[i] = w.people[d.n(len(w.people))].id
	}
	return ids
}

func reversed(a array) array {
	turned := make(array, len(a))
	for i, v := range a {
		turned[len(a)-1-i] = v
	}
	return turned
}

func plus(a array, more ...any) array { return append(append(array{}, a...), more...) }
